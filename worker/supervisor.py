"""The worker process: independent parts side by side, and an exit within ten seconds whatever hangs."""

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
    """Run until SIGTERM or SIGINT. Raises `StoreUnavailable` if SESSION_BACKEND=redis is impossible."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_resources(settings, kind="worker") as resources:
        runner = Runner(resources)
        parts = [asyncio.create_task(part, name=name) for name, part in _parts(resources, runner).items()]
        stopped = asyncio.create_task(stop.wait(), name="signal")
        log.info("Worker started")
        try:
            # Only a bug ends a part; the process then exits, and its manager starts it again.
            await asyncio.wait({*parts, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            await asyncio.gather(runner.stop(), *(_end(part) for part in parts))
    log.info("Worker stopped")


def _parts(resources: Resources, runner: Runner) -> dict[str, Coroutine[None, None, None]]:
    """The parts by name; each runs until cancelled."""
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
