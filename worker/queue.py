"""arq as we use it: jobs as msgpack, a pool with time-outs, everything made anew for each life of the worker."""

from datetime import timedelta
from typing import Any

import msgspec
from arq.connections import ArqRedis
from arq.cron import cron
from arq.worker import Worker

from app import redis
from app.config import Settings
from app.resources import Resources
from worker.jobs.expire_sessions import expire_sessions

QUEUE = "hf:jobs"
# Longer than any answer Redis owes us. Without it a Redis that hangs would hang arq for ever, SIGTERM included.
SOCKET_TIMEOUT = timedelta(seconds=5)
# Short, because after a kill a job comes back only once this and ten seconds more have passed.
JOB_TIMEOUT_SECONDS = 60
MAX_CONNECTIONS = 12

# An exception, which arq puts into a failed job's result, is kept as its text. Pickle could run code when read.
_encoder = msgspec.msgpack.Encoder(enc_hook=repr)


def make_pool(settings: Settings) -> ArqRedis:
    assert settings.redis_url
    pool = redis.make_pool(settings.redis_url, timeout=SOCKET_TIMEOUT, max_connections=MAX_CONNECTIONS, client_name="holdfast-worker-jobs")
    return ArqRedis(pool, job_serializer=_encoder.encode, job_deserializer=_decode, default_queue_name=QUEUE)


def make_worker(resources: Resources) -> Worker:
    """A worker with its own pool and cron objects; cron objects that outlive a worker replay what they missed in a burst."""
    return Worker(
        cron_jobs=[cron(expire_sessions, hour=3, minute=0, max_tries=3, timeout=JOB_TIMEOUT_SECONDS)],
        redis_pool=make_pool(resources.settings),
        queue_name=QUEUE,
        ctx={"resources": resources},
        handle_signals=False,
        job_timeout=JOB_TIMEOUT_SECONDS,
        keep_result=0,
        timezone=resources.settings.jobs_timezone,  # type: ignore[arg-type]  # any tzinfo will do
        job_serializer=_encoder.encode,
        job_deserializer=_decode,
    )


def _decode(data: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.msgpack.decode(data)
    return decoded
