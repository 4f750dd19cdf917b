"""Imports too large to be over at once: memory, the others meanwhile, and a worker that is killed."""

import asyncio
import signal
from collections.abc import AsyncIterator

import httpx
import psutil
import pytest

from app.core.database import Database
from app.models import Deal, Event
from tests.conftest import StartWeb
from tests.factories import PASSWORD, make_organisation, make_user
from tests.integration.importing import CSV, count
from tests.servers.process import AppProcess, held_directory, remove_directory
from tests.servers.web import ROOT
from tests.waiting import until

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@sqlite_only
async def test_fifty_megabytes_neither_fill_the_memory_nor_stop_the_others(database: Database, start_web: StartWeb) -> None:
    organisation = await make_organisation(database)
    admin = await make_user(database, organisation, role="admin")
    server = await start_web()
    line = b"%05d,Google," + b"a long story " * 150 + b"\n"

    async def file(megabytes: int) -> AsyncIterator[bytes]:
        yield b"Target,Acquirer,Description\n"
        for start in range(0, megabytes * 500, 100):
            yield b"".join(line % number for number in range(start, start + 100))

    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
        await client.post("/api/auth/login", json={"email": admin.email, "password": PASSWORD})
        await client.post("/api/imports?start=false", content=file(1), headers=CSV)
        process = psutil.Process(server.pid)
        before, most, served = process.memory_info().rss, 0, 0
        upload = asyncio.create_task(client.post("/api/imports?start=false", content=file(50), headers=CSV))
        while not upload.done():
            assert (await client.get("/api/me")).status_code == 200
            served += 1
            most = max(most, process.memory_info().rss)
        found = (await upload).json()["import"]
        assert (found["size"] > 48_000_000, found["checked"]["complete"], found["checked"]["rows"]) == (True, False, 5000)
        assert served > 10
        assert most - before < 40_000_000, "less than the file"
        too_large = await client.post("/api/imports", content=file(70), headers=CSV)
        assert (too_large.status_code, too_large.json().get("code")) == (413, "payload_too_large")
        assert "64 MB" in too_large.json()["detail"]


@sqlite_only
@pytest.mark.slow
async def test_import_goes_on_where_a_killed_worker_left_it(database: Database, start_web: StartWeb, environ: dict[str, str]) -> None:
    """Rows with a reference of their own and rows without: each is there once."""
    organisation = await make_organisation(database)
    admin = await make_user(database, organisation, role="admin")
    rows = 6_000
    content = "Target,Acquirer,Reference\n" + "".join(f"T{n},Google,{f'ref {n}' if n % 2 else ''}\n" for n in range(rows))
    server = await start_web()
    directory = held_directory("worker")
    settings = environ | {"PYTHONPATH": str(ROOT)}
    workers = [AppProcess("worker", log=directory / f"log{n}", cwd=directory, env=settings) for n in range(2)]

    async def imported() -> int:
        return await count(database, Deal.organisation_id == organisation.id)

    try:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
            await client.post("/api/auth/login", json={"email": admin.email, "password": PASSWORD})
            answer = await client.post("/api/imports?filename=many.csv", content=content.encode(), headers=CSV)
            assert answer.status_code == 202, answer.text
            path = answer.headers["Location"]
            workers[0].start()

            async def is_under_way() -> bool:
                return await imported() > 500

            await until(is_under_way, within=20)
            assert workers[0].process is not None
            workers[0].process.send_signal(signal.SIGKILL)
            workers[0].process.wait()
            left_at = await imported()
            assert 500 < left_at < rows
            workers[1].start()

            async def is_over() -> bool:
                state: str = (await client.get(path)).json()["import"]["state"]
                return state not in ("queued", "running")

            await until(is_over, within=60)
            found = (await client.get(path)).json()["import"]
    finally:
        for worker in workers:
            worker.kill()
        remove_directory(directory)
    assert (found["state"], found["counts"]["rows"], found["counts"]["imported"]) == ("done", rows, rows)
    assert await imported() == rows
    assert await count(database, Event.kind == "import.finished", of=Event) == 1
