"""Runs jobs in this process: claims a run in SQL, calls the body of its job, and stores the outcome whatever happens meanwhile."""

import asyncio
import traceback
from collections.abc import Mapping
from typing import Any

import structlog

from app.core.errors import Unavailable
from app.jobs import queue
from app.jobs.definitions import JOBS
from app.jobs.run import Run, RunCancelled, RunLost
from app.jobs.store import find_state
from app.resources import Resources
from worker.jobs import BODIES, JobBody
from worker.limits import LIMITS, WorkerLimits

log = structlog.get_logger()

# Imports may take long; the sweeps must not wait for them.
MAX_AT_ONCE = 8
TRACEBACK_LIMIT = 20_000


class Runner:
    """The runs of one process. Only tests pass `bodies` and `limits`."""

    def __init__(self, resources: Resources, bodies: Mapping[str, JobBody] = BODIES, limits: WorkerLimits = LIMITS) -> None:
        self.resources = resources
        self.bodies = bodies
        self.limits = limits
        self.process_id = resources.backend.fleet.process_id
        self.active: dict[int, asyncio.Task[None]] = {}
        self.under_way: dict[int, Run] = {}
        self.is_stopping = False

    @property
    def has_room(self) -> bool:
        return not self.is_stopping and len(self.active) < MAX_AT_ONCE

    async def run(self, run_id: int) -> None:
        """Execute a run to its end; return at once if another process has it. Cancelling the caller does not stop the run."""
        if run_id not in self.active:
            if not self.has_room:
                return
            self.active[run_id] = asyncio.create_task(self._run(run_id), name=f"run {run_id}")
            self.active[run_id].add_done_callback(lambda _: self.active.pop(run_id))
        # Waited for instead of awaited: the run logs its own failure, and cancelling the caller must not cancel it.
        await asyncio.wait({self.active[run_id]})

    def cancel(self, run_id: int) -> None:
        """Stop a run of this process at once, without waiting for the next poll of its row."""
        if run := self.under_way.get(run_id):
            run.ended_by = RunCancelled()

    async def stop(self) -> None:
        """Start no more runs, let short ones finish, and queue the others again."""
        self.is_stopping = True
        if tasks := set(self.active.values()):
            _, unfinished = await asyncio.wait(tasks, timeout=self.limits.grace.total_seconds())
            for task in unfinished:
                task.cancel()
            if unfinished:
                await asyncio.wait(unfinished, timeout=self.limits.end.total_seconds())

    async def _run(self, run_id: int) -> None:
        try:
            async with self.resources.database.write() as db:
                row = await queue.claim(db, run_id, process_id=self.process_id, now=self.resources.clock.now())
        except Unavailable as outage:
            log.warning("A run cannot be claimed; it stays queued.", run_id=run_id, fault=outage.detail)
            return
        except Exception:  # a bug, which must not end the caller, arq included
            log.exception("A run cannot be claimed.", run_id=run_id)
            return
        if row is None:
            return
        with structlog.contextvars.bound_contextvars(request_id=f"run-{run_id}"):
            run = self.under_way[run_id] = Run(self.resources.database, row)
            log.info("Job started", job=run.name, attempt=run.attempt, late=row.is_late)
            try:
                await self._perform(run)
            finally:
                del self.under_way[run_id]

    async def _perform(self, run: Run) -> None:
        """Run the body while its row is polled. Only this function stores outcomes."""
        work = asyncio.create_task(self._body(run), name=f"body of run {run.id}")
        watch = asyncio.create_task(self._watch(run), name=f"watch over run {run.id}")
        limit = JOBS[run.name].timeout
        try:
            await asyncio.wait({work, watch}, timeout=limit.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
            interrupted: BaseException | None = None
            if not work.done():
                interrupted = watch.exception() if watch.done() else TimeoutError(f"The job took longer than {limit}.")
        except asyncio.CancelledError as stopped:
            interrupted = stopped
        watch.cancel()
        work.cancel()
        await asyncio.wait({work, watch}, timeout=self.limits.end.total_seconds())
        error = work.exception() if work.done() and not work.cancelled() else interrupted or RunLost()
        await self._write_down(run, error)

    async def _body(self, run: Run) -> None:
        run.counts |= await self.bodies[run.name](self.resources, run)

    async def _watch(self, run: Run) -> None:
        """Raises `RunCancelled` or `RunLost` as soon as the row says so."""
        while True:
            await asyncio.sleep(self.limits.poll.total_seconds())
            try:
                async with self.resources.database.read() as db:
                    state = await find_state(db, run.is_mine())
            except Unavailable:
                continue
            if state is None:
                run.ended_by = RunLost()
                raise run.ended_by
            if state.cancel_requested_at is not None:
                run.ended_by = RunCancelled()
                await asyncio.sleep(self.limits.cancel.total_seconds())
                raise run.ended_by

    async def _write_down(self, run: Run, error: BaseException | None) -> None:
        """Store the outcome, retrying until SQL accepts it. If this process ends first, another one reclaims the run."""
        while True:
            try:
                async with self.resources.database.write() as db:
                    now = self.resources.clock.now()
                    if error is None:
                        written = await queue.succeed(db, run, now=now)
                    elif isinstance(error, RunCancelled):
                        written = await queue.cancel(db, run, now=now)
                    elif isinstance(error, asyncio.CancelledError):
                        written = await queue.release(db, run, now=now)
                    else:
                        written = await queue.fail(db, run, _describe(error), now=now)
                break
            except Unavailable as outage:
                log.warning("The outcome of a run cannot be stored yet.", job=run.name, fault=outage.detail)
                if self.is_stopping:
                    return
                await asyncio.sleep(self.limits.poll.total_seconds())
        _log_end(run, error, written)


def _describe(error: BaseException) -> queue.Failure:
    trace = "".join(traceback.format_exception(error))[-TRACEBACK_LIMIT:]
    return queue.Failure(type(error).__name__, _storable(str(error)[:2000]), _storable(trace))


def _storable(text: str) -> str:
    """Escapes what databases refuse in text; otherwise storing the outcome would fail for ever."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _log_end(run: Run, error: BaseException | None, written: bool) -> None:
    facts: dict[str, Any] = {"job": run.name, "attempt": run.attempt} | run.counts
    if not written:
        log.warning("Another process reclaimed this run; its outcome here is discarded.", **facts)
    elif error is None:
        log.info("Job succeeded", **facts)
    elif isinstance(error, RunCancelled):
        log.info("Job cancelled", **facts)
    elif isinstance(error, asyncio.CancelledError):
        log.info("Job queued again because this process stops", **facts)
    else:
        log.error("Job failed", exc_info=error, **facts)
