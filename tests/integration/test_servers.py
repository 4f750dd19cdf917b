"""The servers of the tests themselves: real, clean, and gone at the end."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from playwright.async_api import Browser
from redis.asyncio import Redis
from sqlalchemy import text

from app.core.database import Database
from tests.conftest import StartRedis, StartWeb
from tests.servers.process import ServerDied, wait_until
from tests.servers.redis import PRIVATE_KINDS
from tests.servers.web import ROOT


@pytest.mark.parametrize("_turn", [1, 2])
async def test_every_test_begins_with_a_migrated_database_without_people(database: Database, _turn: int) -> None:
    async with database.write() as db:
        assert (await db.execute(text("SELECT count(*) FROM organisations"))).scalar_one() == 0
        await db.execute(text("INSERT INTO organisations (name, created_at) VALUES ('left behind', '2026-01-01')"))


@pytest.mark.parametrize("_turn", [1, 2])
async def test_every_test_begins_with_an_empty_redis(redis_server: str, _turn: int) -> None:
    async with Redis.from_url(redis_server) as client:
        assert await client.dbsize() == 0
        await client.set("left", "behind")


@pytest.mark.parametrize("kind", PRIVATE_KINDS)
async def test_private_redis_can_be_killed_and_comes_back_on_its_port(start_redis: StartRedis, kind: str) -> None:
    server = start_redis(kind)
    assert server.say("SET key value").startswith("+OK")
    server.kill()
    with pytest.raises(OSError, match="refused"):
        server.say("PING")
    server.restart()
    assert server.say("GET key").startswith("$-1"), "nothing is saved unless asked for"


async def test_private_redis_keeps_its_data_when_asked_to(start_redis: StartRedis) -> None:
    server = start_redis("valkey", appendonly="yes", appendfsync="always")
    server.say("SET key value")
    server.kill()
    server.restart()
    server.wait_until_ready()
    assert "value" in server.say("GET key")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_web_process_serves_and_ends_when_asked(start_web: StartWeb) -> None:
    server = await start_web({"LOG_LEVEL": "info"})
    assert "Application startup complete" in server.output()
    server.terminate()
    assert "Finished server process" in server.output()
    with pytest.raises(ServerDied):
        server.accepts()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_web_process_that_cannot_start_says_why_at_once(start_web: StartWeb) -> None:
    with pytest.raises(ServerDied, match="REDIS_TIMEOUT_SECONDS"):
        await start_web({"REDIS_TIMEOUT_SECONDS": "soon"})


@pytest.mark.browser
async def test_browser_shows_a_page(browser: Browser) -> None:
    page = await browser.new_page()
    await page.set_content("<h1>Holdfast</h1>")
    assert await page.inner_text("h1") == "Holdfast"


def test_killed_test_run_leaves_no_server_behind(tmp_path: Path) -> None:
    run = """
from tests.servers import redis
server = redis.start("valkey")
print(server.pid, server.directory, flush=True)
input()
"""
    process = subprocess.Popen([sys.executable, "-c", run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with process:
        assert process.stdout is not None
        pid, directory = process.stdout.readline().split()
        assert psutil.pid_exists(int(pid))
        process.kill()
    wait_until(lambda: not psutil.pid_exists(int(pid)) and not Path(directory).exists(), within=10, what="the end of the server")
