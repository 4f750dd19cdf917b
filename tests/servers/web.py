"""A real web process, for what one process cannot show: several servers, no sticky routing, kills."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import httpx

from tests.servers.process import START_LIMIT_SECONDS, AppProcess, free_port, held_directory, remove_directory

ROOT = Path(__file__).resolve().parents[2]


class WebServer(AppProcess):
    """`holdfast web` with `environ` and nothing else of the caller's environment, in an empty directory."""

    def __init__(self, environ: Mapping[str, str], *, forked: bool = True) -> None:
        self.directory = held_directory("web")
        port = free_port()
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "COVERAGE_PROCESS_START") if name in os.environ}
        inherited = kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TMPDIR": str(self.directory)}
        super().__init__(
            "web",
            port=port,
            log=self.directory / "log",
            cwd=self.directory,
            env=inherited | dict(environ) | {"HOST": "127.0.0.1", "PORT": str(port)},
            forked=forked,
        )
        self.url = f"http://127.0.0.1:{port}"

    async def wait_until_ready(self) -> None:
        """Answering, without blocking the loop: a test may run the proxy in it that this server needs to start."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=2) as client, asyncio.timeout(START_LIMIT_SECONDS):
            while not await self._is_live(client):
                self.check_alive()
                await asyncio.sleep(0.02)

    def remove(self) -> None:
        self.kill()
        remove_directory(self.directory)

    @staticmethod
    async def _is_live(client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get("/health/live")).is_success
        except httpx.TransportError:
            return False
