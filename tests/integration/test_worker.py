"""The worker process: it executes what SQL holds, by arq where Redis serves and without it where not, and stops when asked."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping

import msgspec
import pytest
from sqlalchemy import select

from app.core.clock import Clock
from app.core.config import Settings
from app.core.database import Database
from app.core.redis_keys import RedisKeys
from app.jobs.service import request_run
from app.models import JobRun, SessionBackend
from tests.conftest import StartRedis
from tests.servers.process import AppProcess, held_directory, remove_directory, wait_until
from tests.servers.web import ROOT
from tests.waiting import until
from worker.arq_queue import make_pool

STOP_SECONDS = 10
CHECK = "check_session_backend"
StartWorker = Callable[[Mapping[str, str]], AppProcess]
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def start_worker(environ: dict[str, str]) -> Iterator[StartWorker]:
    directory = held_directory("worker")
    workers: list[AppProcess] = []

    def start(changes: Mapping[str, str]) -> AppProcess:
        settings = environ | {"PYTHONPATH": str(ROOT)} | dict(changes)
        worker = AppProcess("worker", log=directory / "log", cwd=directory, env=settings)
        workers.append(worker)
        worker.start()
        wait_until(lambda: says(worker, "Worker started"), within=20, what="Worker started")
        return worker

    yield start
    for worker in workers:
        worker.kill()
    remove_directory(directory)


def says(worker: AppProcess, text: str, *, times: int = 1) -> bool:
    worker.check_alive()
    return worker.output().count(text) >= times


async def run_to_the_end(database: Database, name: str = CHECK) -> JobRun:
    """A run that somebody asks for, as the worker left it."""
    async with database.write() as db:
        run_id = await request_run(db, name, at=Clock().now())

    async def is_over() -> bool:
        async with database.read() as db:
            return await db.scalar(select(JobRun.finished_at).where(JobRun.id == run_id)) is not None

    await until(is_over, within=20)
    async with database.read() as db:
        return await db.get_one(JobRun, run_id)


async def keys_of(database: Database) -> RedisKeys:
    async with database.read() as db:
        return RedisKeys((await db.execute(select(SessionBackend.redis_prefix))).scalar_one())


async def test_arq_executes_what_sql_holds_and_is_told_no_pickle(start_worker: StartWorker, settings: Settings, database: Database) -> None:
    worker = start_worker({})
    wait_until(lambda: says(worker, "redis_version"), within=10, what="arq")
    run = await run_to_the_end(database)
    assert run.status == "succeeded"
    assert f":run_job({run.id})" in worker.output(), "arq did it"
    pool = make_pool(settings, await keys_of(database))
    # Of a run that is over nothing is done, however often arq is told of it.
    await pool.enqueue_job("run_job", run.id, _job_id="again", _defer_by=1)
    payload = await pool.get("arq:job:again")
    assert payload
    assert msgspec.msgpack.decode(payload)["f"] == "run_job"
    await pool.aclose(close_connection_pool=True)
    await until(lambda: says(worker, f"again:run_job({run.id})"), within=15)
    async with database.read() as db:
        assert (await db.get_one(JobRun, run.id)).attempt == 1
    assert await asyncio.to_thread(worker.terminate, within=STOP_SECONDS) == 0
    assert "Worker stopped" in worker.output()


async def test_arq_comes_back_after_redis_was_killed_and_runs_go_on_meanwhile(
    start_worker: StartWorker, start_redis: StartRedis, database: Database
) -> None:
    redis = start_redis()
    worker = start_worker({"REDIS_URL": redis.url})
    await until(lambda: says(worker, "redis_version"), within=10)
    redis.kill()
    await until(lambda: says(worker, "arq stopped, starting again"), within=20)
    assert (await run_to_the_end(database)).status == "succeeded"
    await until(lambda: says(worker, "arq stopped, starting again", times=2), within=20)
    redis.restart()
    await until(lambda: says(worker, "redis_version", times=2), within=20)
    assert await asyncio.to_thread(worker.terminate, signal.SIGINT, within=STOP_SECONDS) == 0


@pytest.mark.parametrize("redis_url", ["none"], indirect=True)
async def test_worker_without_redis_runs_its_jobs(start_worker: StartWorker, database: Database) -> None:
    worker = start_worker({})
    assert says(worker, "jobs run without arq")
    assert (await run_to_the_end(database, "sweep_stale_deals")).status == "succeeded"
    assert await asyncio.to_thread(worker.terminate, within=STOP_SECONDS) == 0
