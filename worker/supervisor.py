"""The worker process: keeps arq alive through every outage of Redis, and stops within ten seconds whatever hangs."""

import asyncio
import signal
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog

from app.config import Settings
from app.errors import Unavailable
from app.resources import Resources, open_resources
from worker.consumers.loops import run_events
from worker.jobs.expire_sessions import expire_sessions
from worker.probe import watch
from worker.queue import make_worker

log = structlog.get_logger()

FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(seconds=30)
# A life this long had its Redis: its end starts the back-off anew.
STEADY = timedelta(minutes=1)
# Well below the ten seconds in which a process manager expects us gone: what is open besides has time-outs of its own.
CLOSE_LIMIT = timedelta(seconds=4)
DAILY_HOUR = 3
RETRY_DAILY = timedelta(minutes=10)


async def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Raises `StoreUnavailable` where SESSION_BACKEND=redis cannot be kept."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_resources(settings, kind="worker") as resources:
        jobs = asyncio.create_task(_keep_queue_alive(resources) if settings.redis_url else _work_without_queue(resources))
        probe = asyncio.create_task(watch(resources), name="probe")
        events = asyncio.create_task(run_events(resources), name="events")
        stopped = asyncio.create_task(stop.wait())
        log.info("Worker started")
        try:
            await asyncio.wait({jobs, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(jobs)
            await _end(events)
            await _end(probe)
            await _end(stopped)
    log.info("Worker stopped")


async def _keep_queue_alive(resources: Resources) -> None:
    """One arq worker after the other: it dies with Redis, and is made anew until Redis is back."""
    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE
    while True:
        began = loop.time()
        try:
            await _live_once(resources)
        except Exception as died:
            # Whatever killed it, a bug in a library included: the other parts of this process must go on, and the next life may succeed.
            if timedelta(seconds=loop.time() - began) > STEADY:
                pause = FIRST_PAUSE
            log.warning("Jobs stopped, starting again", reason=f"{type(died).__name__}: {died}", pause_seconds=pause.total_seconds())
        await asyncio.sleep(pause.total_seconds())
        pause = min(2 * pause, LONGEST_PAUSE)


async def _live_once(resources: Resources) -> None:
    worker = make_worker(resources)
    try:
        await worker.async_run()
    finally:
        # In a task of its own, since arq's close waits for jobs it has just cancelled and passes their cancellation on as ours.
        await _finish(asyncio.create_task(worker.close()))


async def _work_without_queue(resources: Resources) -> None:
    """No Redis is configured, so no arq: the daily job still runs, by this process's own clock."""
    log.info("No REDIS_URL: scheduled jobs run without a queue")
    wait = until_daily(resources.clock.now(), resources.settings.jobs_timezone)
    while True:
        await asyncio.sleep(wait.total_seconds())
        done = await _expired(resources)
        wait = until_daily(resources.clock.now(), resources.settings.jobs_timezone) if done else RETRY_DAILY


async def _expired(resources: Resources) -> bool:
    try:
        await expire_sessions({"resources": resources})
    except Unavailable as outage:
        log.warning("Expired sessions not deleted, trying again later", reason=str(outage))
        return False
    return True


def until_daily(now: datetime, zone: ZoneInfo) -> timedelta:
    """How long from `now` to the next DAILY_HOUR o'clock in `zone`."""
    today = now.astimezone(zone).replace(hour=DAILY_HOUR, minute=0, second=0, microsecond=0)
    due = today if today > now else today + timedelta(days=1)
    # In UTC, because two times of one zone are subtracted without regard to its summer time.
    return due.astimezone(UTC) - now.astimezone(UTC)


async def _end(task: asyncio.Task[None] | asyncio.Task[bool]) -> None:
    task.cancel()
    await _finish(task)


async def _finish(task: asyncio.Task[None] | asyncio.Task[bool]) -> None:
    """Wait for the end of a task, but not for ever; how it ended does not matter any more."""
    done, _ = await asyncio.wait({task}, timeout=CLOSE_LIMIT.total_seconds())
    if not done:
        log.warning("Gave up waiting for an end", task=task.get_name())
        task.cancel()
    elif not task.cancelled() and task.exception():
        log.warning("Ended with an error", reason=repr(task.exception()))
