"""The worker process: its parts side by side, none of which another's failure ends, and an end within ten seconds whatever hangs."""

import asyncio
import signal
from collections.abc import Coroutine

import structlog

from app.core.config import Settings
from app.resources import Resources, open_resources
from worker.arq_queue import ArqQueue, finish
from worker.event_loops import run_events
from worker.probe import watch
from worker.runner import Runner
from worker.scheduler import Scheduler

log = structlog.get_logger()


async def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Raises `StoreUnavailable` where SESSION_BACKEND=redis cannot be kept."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_resources(settings, kind="worker") as resources:
        runner = Runner(resources)
        parts = [asyncio.create_task(part, name=name) for name, part in _parts(resources, runner).items()]
        stopped = asyncio.create_task(stop.wait(), name="signal")
        log.info("Worker started")
        try:
            # A part ends by a bug alone; then a process manager starts everything anew.
            await asyncio.wait({*parts, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            await asyncio.gather(runner.stop(), *(_end(part) for part in parts))
    log.info("Worker stopped")


def _parts(resources: Resources, runner: Runner) -> dict[str, Coroutine[None, None, None]]:
    """What runs until it is cancelled, by name."""
    events = {"events": run_events(resources)}
    if resources.settings.redis_url is None:
        log.info("No REDIS_URL: jobs run without arq")
        return events | {"scheduler": Scheduler(resources, runner).run_forever()}
    arq = ArqQueue(runner)
    parts = events | {"scheduler": Scheduler(resources, runner, arq).run_forever(), "arq": arq.keep_alive()}
    return parts | ({"probe": watch(resources)} if resources.redis else {})


async def _end(part: asyncio.Task[None]) -> None:
    part.cancel()
    await finish(part)
