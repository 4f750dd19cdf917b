"""The worker process: its jobs survive every outage of Redis, and it stops when asked, whatever hangs."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

import msgspec
import pytest

from app.config import Settings
from tests.conftest import StartRedis
from tests.servers.process import ServerProcess, held_directory, remove_directory, wait_until
from tests.servers.web import ROOT
from worker.queue import make_pool

STOP_SECONDS = 10
StartWorker = Callable[[Mapping[str, str]], ServerProcess]
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def start_worker(environ: dict[str, str]) -> Iterator[StartWorker]:
    directory = held_directory("worker")
    workers: list[ServerProcess] = []

    def start(changes: Mapping[str, str]) -> ServerProcess:
        settings = environ | {"PYTHONPATH": str(ROOT)} | dict(changes)
        worker = ServerProcess([sys.executable, "-m", "app", "worker"], port=0, log=directory / "log", cwd=directory, env=settings)
        workers.append(worker)
        worker.start()
        wait_until(lambda: says(worker, "Worker started"), within=20, what="Worker started")
        return worker

    yield start
    for worker in workers:
        worker.kill()
    remove_directory(directory)


def says(worker: ServerProcess, text: str, *, times: int = 1) -> bool:
    worker.check_alive()
    return worker.output().count(text) >= times


def test_worker_stops_when_asked(start_worker: StartWorker, start_redis: StartRedis) -> None:
    worker = start_worker({"REDIS_URL": start_redis().url})
    wait_until(lambda: says(worker, "Starting worker for 1 functions"), within=10, what="arq")
    assert worker.terminate(within=STOP_SECONDS) == 0
    assert "Worker stopped" in worker.output()


def test_jobs_come_back_after_redis_was_killed(start_worker: StartWorker, start_redis: StartRedis) -> None:
    redis = start_redis()
    worker = start_worker({"REDIS_URL": redis.url})
    wait_until(lambda: says(worker, "Starting worker for 1 functions"), within=10, what="arq")
    redis.kill()
    wait_until(lambda: says(worker, "Jobs stopped, starting again", times=2), within=20, what="two tries")
    redis.restart()
    wait_until(lambda: says(worker, "redis_version", times=2), within=20, what="arq's second life")
    assert worker.terminate(signal.SIGINT, within=STOP_SECONDS) == 0


def test_worker_stops_in_time_while_redis_hangs(start_worker: StartWorker, start_redis: StartRedis) -> None:
    redis = start_redis()
    worker = start_worker({"REDIS_URL": redis.url})
    wait_until(lambda: says(worker, "Starting worker for 1 functions"), within=10, what="arq")
    redis.stop()
    began = time.monotonic()
    assert worker.terminate(within=STOP_SECONDS) == 0
    assert time.monotonic() - began < STOP_SECONDS


async def test_queued_job_runs_and_is_no_pickle(start_worker: StartWorker, settings: Settings) -> None:
    worker = start_worker({})
    pool = make_pool(settings)
    await pool.enqueue_job("cron:expire_sessions", _job_id="now", _defer_by=timedelta(seconds=1))
    payload = await pool.get("arq:job:now")
    assert payload
    assert msgspec.msgpack.decode(payload)["f"] == "cron:expire_sessions"
    await pool.aclose(close_connection_pool=True)
    await asyncio.to_thread(wait_until, lambda: says(worker, "Expired sessions deleted"), within=15, what="the job")


@pytest.mark.parametrize("redis_url", ["none"], indirect=True)
def test_worker_without_redis_runs_its_jobs_by_the_clock(start_worker: StartWorker) -> None:
    worker = start_worker({})
    wait_until(lambda: says(worker, "scheduled jobs run without a queue"), within=10, what="the other way")
    assert worker.terminate(within=STOP_SECONDS) == 0
