"""`holdfast web` as a process: nobody who pushes slows others down, it ends without refusing anybody, and where it listens."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import psutil
import pytest

from app.core.config import ConfigError, load_settings
from app.core.port import has_ipv6, refuse_port_in_use
from tests.servers.guarded import ask, connected
from tests.servers.process import free_port
from tests.servers.web import WebServer
from tests.waiting import until

# No SQL and no Redis differs here.
pytestmark = [
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
    pytest.mark.parametrize("redis_url", ["none"], indirect=True),
]
# What one stranger may add to another's request, on a machine that does other things besides.
QUICK_SECONDS = 1.0
HEAD = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@asynccontextmanager
async def web(environ: dict[str, str], *, host: str = "127.0.0.1") -> AsyncIterator[WebServer]:
    server = WebServer(environ, forked=False)
    server.popen["env"]["HOST"] = host
    server.start()
    try:
        await server.wait_until_ready()
        # Each of several: one that is still starting has no order to end in.
        processes = int(environ.get("WEB_CONCURRENCY", "1"))
        await until(lambda: server.output().count("Application startup complete") == processes, within=30)
        yield server
    finally:
        server.remove()


async def slowest_health(server: WebServer, until_done: asyncio.Task[None]) -> float:
    """The longest that /health/live took on connections of its own while something else went on."""
    slowest = 0.0
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as client:
        while True:
            began = time.monotonic()
            assert (await client.get("/health/live")).status_code == 200
            slowest = max(slowest, time.monotonic() - began)
            if until_done.done():
                return slowest
            await asyncio.sleep(0.02)  # a look now and then, not a load of its own


async def push(port: int, begin: bytes, piece: bytes, total: int) -> None:
    """Send up to `total` bytes, or until the server has enough."""
    async with connected(port) as client:
        await client.send(begin)
        for _ in range(total // len(piece)):
            await client.send(piece)
            if client.reader.at_eof() or client.writer.is_closing():
                return


PUSHES = {
    "header_without_end": (HEAD + b"X-A: ", b"x" * 65536, 300_000_000),
    "header_in_small_pieces": (HEAD + b"X-A: ", b"x" * 100, 3_000_000),
    "target_without_end": (b"GET /", b"x" * 65536, 300_000_000),
    "headers_without_end": (HEAD, b"X-A: b\r\n" * 8000, 300_000_000),
    "body_nobody_asked_for": (POST + b"Content-Length: 300000000\r\n\r\n", b"x" * 65536, 300_000_000),
    "chunks_without_end": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n", 300_000_000),
    "tiny_chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 10000, 30_000_000),
    "extension_without_end": (POST + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 65536, 300_000_000),
    "trailer_without_end": (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: ", b"x" * 65536, 300_000_000),
    "empty_lines": (b"", b"\r\n" * 30000, 30_000_000),
    "pipelined": (b"", (HEAD + b"\r\n") * 3000, 30_000_000),
}


async def test_nobody_who_pushes_slows_the_others_down(environ: dict[str, str]) -> None:
    """Each of these once held the process for seconds, or could have."""
    async with web(environ) as server:
        memory = psutil.Process(server.pid).memory_info().rss
        for name, (begin, piece, total) in PUSHES.items():
            pushing = asyncio.create_task(push(server.port, begin, piece, total))
            slowest = await slowest_health(server, pushing)
            await pushing
            assert slowest < QUICK_SECONDS, f"{name}: /health/live took {slowest:.2f} s meanwhile"
            grown = psutil.Process(server.pid).memory_info().rss - memory
            assert grown < 60_000_000, f"{name}: {grown / 1e6:.0f} MB more"
        assert "Traceback" not in server.output()


async def test_upgrade_is_answered_as_the_request_it_is(environ: dict[str, str]) -> None:
    async with web(environ) as server:
        for upgrade in (b"websocket", b"h2c"):
            for path in (b"/health/live", b"/api/me", b"/nothing"):
                head = b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: %b\r\n" % (path, upgrade)
                answer = await ask(server.port, head + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n\r\n")
                assert int(answer.split()[1]) in (200, 401, 404), answer
        assert b" 400 " in await ask(server.port, b"GET http://elsewhere.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert "Traceback" not in server.output()


@pytest.mark.parametrize("processes", [1, 2])
async def test_readiness_says_no_before_the_port_closes(environ: dict[str, str], processes: int) -> None:
    """Behind a balancer that looks at readiness nobody is refused: until it can know, everything is answered."""
    drain = 2.0
    async with web(environ | {"DRAIN_SECONDS": str(drain), "WEB_CONCURRENCY": str(processes)}) as server:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=10) as kept:
            assert (await kept.get("/health/ready")).json() == {"status": "ready"}
            began = time.monotonic()
            os.kill(server.pid, signal.SIGTERM)
            answers: list[tuple[float, int, str]] = []
            refused_at = 0.0

            async def look() -> bool:
                nonlocal refused_at
                try:
                    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=10) as fresh:
                        answer = await fresh.get("/health/ready")
                        assert (await fresh.get("/login")).status_code == 200, "what is no health is answered as ever"
                except httpx.TransportError:
                    refused_at = time.monotonic() - began
                    return True
                answers.append((time.monotonic() - began, answer.status_code, answer.headers.get("connection", "")))
                return False

            await until(look, within=20)
        draining = [each for each in answers if each[1] == 503]
        assert draining, "readiness said no before the port closed"
        assert draining[0][0] < 1.5, "and soon"
        assert all(each[2] == "close" for each in draining)
        assert all(each[1] == 503 for each in answers[answers.index(draining[0]) :]), "and did not change its mind"
        assert refused_at >= drain - 0.2
        await until(lambda: server.process is not None and server.process.poll() is not None, within=10)
        assert time.monotonic() - began < drain + 8
        assert "Traceback" not in server.output()


@pytest.mark.parametrize("processes", [1, 2])
async def test_answers_under_way_are_finished_and_kept_connections_are_told(environ: dict[str, str], processes: int) -> None:
    several = {"DRAIN_SECONDS": "1", "WEB_CONCURRENCY": str(processes)}
    async with web(environ | several) as server, connected(server.port) as kept, connected(server.port) as slow:
        await kept.send(HEAD + b"\r\n")
        assert await kept.line() == b"HTTP/1.1 200 OK\r\n"
        body = json.dumps({"email": "nobody@example.com", "password": "x" * 20}).encode()
        await slow.send(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body[:10])
        os.kill(server.pid, signal.SIGTERM)
        await until(lambda: "Draining" in server.output())
        await kept.send(HEAD + b"\r\n")
        assert b"connection: close" in (await kept.rest()).lower()
        await until(lambda: server.output().count("Shutting down") == processes)
        with pytest.raises(ConnectionRefusedError):  # the port is closed, not only left alone: nobody waits there for an answer
            await until(lambda: connects(server.port), within=2)
        await slow.send(body[10:])
        assert b" 401 " in (await slow.rest()).splitlines()[0], "its answer was made after the port had closed"


async def test_several_processes_keep_newcomers_away_before_the_port_closes(environ: dict[str, str]) -> None:
    """A connection that is completed and that nobody takes any more would be reset with its request."""
    async with web(environ | {"DRAIN_SECONDS": "0", "WEB_CONCURRENCY": "2"}) as server:
        workers = psutil.Process(server.pid).children()
        for each in workers:
            each.suspend()  # so that the port stays open although nobody takes anything
        os.kill(server.pid, signal.SIGTERM)

        async def nobody_comes_in() -> bool:
            try:
                async with asyncio.timeout(0.3), connected(server.port):
                    return False
            except TimeoutError:
                return True

        await until(nobody_comes_in, within=10)
        for each in workers:
            each.resume()
        await until(lambda: server.process is not None and server.process.poll() is not None, within=15)


async def connects(port: int) -> bool:
    """False, for ever: a connection that is taken is none that is refused."""
    async with connected(port):
        return False


async def test_without_a_period_the_port_closes_at_once(environ: dict[str, str]) -> None:
    async with web(environ | {"DRAIN_SECONDS": "0"}) as server:
        began = time.monotonic()
        server.terminate()
        assert time.monotonic() - began < 6


@pytest.mark.parametrize("processes", [1, 2])
async def test_both_families_are_served(environ: dict[str, str], processes: int) -> None:
    if not has_ipv6():
        with pytest.raises(ConfigError, match="IPv6"):
            refuse_port_in_use(load_settings({"HOST": "::", "PORT": str(free_port())}))
        return
    async with web(environ | {"WEB_CONCURRENCY": str(processes)}, host="::") as server:
        for host in ("127.0.0.1", "[::1]"):
            async with httpx.AsyncClient(base_url=f"http://{host}:{server.port}", trust_env=False, timeout=10) as client:
                assert (await client.get("/health/live")).status_code == 200
                # For this machine only: an IPv4 visitor is not ::ffff:127.0.0.1.
                assert (await client.get("/metrics")).status_code == 200
