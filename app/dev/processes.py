"""Runs a few processes under one: their output under their names, one's end is everybody's, and none is left behind."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

# Each process promises to be gone within ten seconds of SIGTERM.
STOP_SECONDS = 10
POLL_SECONDS = 0.05
MAX_LINE = 2**20


class Stopped(Exception):
    """A process ended, or could not be made ready; the message says which and how."""


@dataclass(frozen=True)
class Child:
    name: str
    process: asyncio.subprocess.Process
    output: asyncio.Task[None]

    @property
    def how_it_ended(self) -> str:
        status = self.process.returncode
        if status is not None and status < 0:
            return f"{self.name} was killed by {signal.Signals(-status).name}"
        return f"{self.name} stopped with status {status}"


class Processes:
    """Stopped in the reverse order of their start, so that nobody loses what it depends on."""

    def __init__(self) -> None:
        self.children: list[Child] = []
        self._hurry = asyncio.Event()

    async def start(self, name: str, command: Sequence[str], *, environ: dict[str, str], keep_open: Sequence[int] = ()) -> Child:
        """One that takes the name of another, which has ended, takes its place."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.core.parent", str(os.getpid()), *command),
            env=environ | {"PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=MAX_LINE,
            pass_fds=tuple(keep_open),
            # Out of the terminal's group: Ctrl-C reaches this process alone, which then stops the others in order.
            start_new_session=True,
        )
        child = Child(name, process, asyncio.create_task(_pass_on(name, process)))
        before = next((number for number, each in enumerate(self.children) if each.name == name), None)
        if before is None:
            self.children.append(child)
        else:
            self.children[before] = child
        return child

    async def ready(self, child: Child, check: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
        """Wait until `check` says so. Raises `Stopped` when the child ends before, or takes longer than that."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not await check():
            if child.output.done():
                raise Stopped(child.how_it_ended)
            if asyncio.get_running_loop().time() > deadline:
                raise Stopped(f"{child.name} is not ready after {seconds:.0f} seconds")
            await asyncio.sleep(POLL_SECONDS)

    async def first_end(self) -> Child:
        await asyncio.wait({child.output for child in self.children}, return_when=asyncio.FIRST_COMPLETED)
        return next(child for child in self.children if child.output.done())

    def hurry(self) -> None:
        """Stop waiting for anybody."""
        self._hurry.set()

    async def stop(self) -> None:
        for child in reversed(self.children):
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
            hurry = asyncio.create_task(self._hurry.wait())
            gone = asyncio.create_task(child.process.wait())
            await asyncio.wait({gone, hurry}, timeout=STOP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            # The whole group, also when its leader is gone: web has processes of its own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.process.pid, signal.SIGKILL)
            await gone
            hurry.cancel()
            await asyncio.gather(child.output, return_exceptions=True)


def say(text: str, *, name: str = "holdfast") -> None:
    print(f"{name:<8} | {text}", flush=True)  # noqa: T201  this is its terminal


async def _pass_on(name: str, process: asyncio.subprocess.Process) -> None:
    """Until the process has ended. A failure to print, such as a closed terminal, ends this and so stops everything."""
    assert process.stdout
    while line := await process.stdout.readline():
        say(line.decode(errors="replace").rstrip("\n"), name=name)
    await process.wait()
