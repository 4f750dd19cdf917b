"""How we use arq: it executes runs that are in SQL. Jobs are msgpack, the pool has timeouts, and a restart makes everything anew."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import structlog
from arq.connections import ArqRedis
from arq.worker import Worker, func

from app.core import redis
from app.core.config import Settings
from app.core.metrics import METRICS
from app.core.redis import kind_of_fault
from app.core.redis_keys import RedisKeys
from app.jobs.definitions import JOBS
from worker.runner import MAX_AT_ONCE, Runner

log = structlog.get_logger()

QUEUE = "jobs"
# Longer than any answer of Redis takes. Without it a Redis that hangs would hang arq for ever, SIGTERM included.
SOCKET_TIMEOUT = timedelta(seconds=5)
# A run that arq has not accepted by then is executed without it.
OFFER_LIMIT = timedelta(milliseconds=250)
MAX_CONNECTIONS = 12
FIRST_PAUSE = timedelta(seconds=1)
MAX_PAUSE = timedelta(seconds=30)
# A worker that lived this long had its Redis: its end resets the back-off.
STEADY = timedelta(minutes=1)
CLOSE_LIMIT = timedelta(seconds=4)

# An exception, which arq puts into a failed job's result, is kept as its text. Pickle could run code when read.
_encoder = msgspec.msgpack.Encoder(enc_hook=repr)


class ArqQueue:
    """Keeps an arq worker alive: it dies with Redis, and a new one is started until Redis is back."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.settings = runner.resources.settings
        self._worker: Worker | None = None

    async def offer(self, run_id: int, attempt: int) -> bool:
        """Enqueue a run for the arq of any worker; idempotent per attempt. False: arq is not available."""
        if self._worker is None or self._worker.pool is None:
            return False
        try:
            async with asyncio.timeout(OFFER_LIMIT.total_seconds()):
                job_id = job_id_of(self.runner.resources.keys, run_id, attempt)
                await self._worker.pool.enqueue_job(run_job.__name__, run_id, _job_id=job_id)
        except Exception as error:  # whatever the library raised: arq is not available, and the run starts without it
            METRICS.redis_faults.labels(kind_of_fault(error)).inc()
            return False
        return True

    async def keep_alive(self) -> None:
        """Run until cancelled."""
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while True:
            began = loop.time()
            try:
                await self._live_once()
            except Exception as died:
                # Whatever ended it, even a bug in a library: the other parts must go on, and the next start may succeed.
                if timedelta(seconds=loop.time() - began) > STEADY:
                    pause = FIRST_PAUSE
                reason = f"{type(died).__name__}: {died}"
                log.warning("arq stopped, starting again; runs go on without it", reason=reason, pause_seconds=pause.total_seconds())
            await asyncio.sleep(pause.total_seconds())
            pause = min(2 * pause, MAX_PAUSE)

    async def _live_once(self) -> None:
        self._worker = worker = make_worker(self.runner)
        try:
            await worker.async_run()
        finally:
            self._worker = None
            # In its own task: arq's close waits for jobs it has just cancelled, and raises their CancelledError as if it were ours.
            await finish(asyncio.create_task(worker.close(), name="close of arq"))


async def run_job(ctx: dict[str, Any], run_id: int, *_unknown: Any, **_options: Any) -> None:
    """The one function arq calls. It does nothing for a run that has ended or runs elsewhere. Newer versions may pass more."""
    runner: Runner = ctx["runner"]
    await runner.run(run_id)


def job_id_of(keys: RedisKeys, run_id: int, attempt: int) -> str:
    """The job id in arq's own keys, which begin with `arq:`; unique across installations."""
    return f"{keys.prefix}:run:{run_id}:{attempt}" if keys.prefix else f"run:{run_id}:{attempt}"


def make_pool(settings: Settings, keys: RedisKeys) -> ArqRedis:
    """Raises `StoreUnavailable` while the name of the queue is unknown."""
    assert settings.redis_url
    pool = redis.make_pool(settings.redis_url, timeout=SOCKET_TIMEOUT, max_connections=MAX_CONNECTIONS, client_name="holdfast-worker-jobs")
    return ArqRedis(pool, job_serializer=_encoder.encode, job_deserializer=_decode, default_queue_name=keys.name(QUEUE))


def make_worker(runner: Runner) -> Worker:
    """A worker with its own pool. It uses no cron of arq's: a job due while Redis is down would be lost (see app/jobs/schedule.py)."""
    # The runner enforces each job's own, shorter limit.
    limit = max(job.timeout for job in JOBS.values()) + timedelta(minutes=1)
    return Worker(
        functions=[func(run_job, name=run_job.__name__, timeout=limit.total_seconds(), max_tries=5, keep_result=0)],
        redis_pool=make_pool(runner.resources.settings, runner.resources.keys),
        queue_name=runner.resources.keys.name(QUEUE),
        ctx={"runner": runner},
        handle_signals=False,
        max_jobs=MAX_AT_ONCE,
        keep_result=0,
        job_serializer=_encoder.encode,
        job_deserializer=_decode,
    )


async def finish(task: asyncio.Task[None]) -> None:
    """Wait for a task to end, up to `CLOSE_LIMIT`. An error is logged, not raised."""
    done, _ = await asyncio.wait({task}, timeout=CLOSE_LIMIT.total_seconds())
    if not done:
        log.warning("Gave up waiting for a task to end", task=task.get_name())
        task.cancel()
    elif not task.cancelled() and task.exception():
        log.warning("A task ended with an error", task=task.get_name(), reason=repr(task.exception()))


def _decode(data: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.msgpack.decode(data)
    return decoded
