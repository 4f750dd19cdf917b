"""A standby at DATABASE_URL: what is there is read, what would change it is refused as in an outage, and everybody says why."""

import asyncpg
import httpx
import pytest
from sqlalchemy import make_url, text

from app.core.clock import Clock
from app.core.config import load_settings
from app.core.database import Database
from app.core.errors import ReadOnlyDatabase
from app.ops.health.checks import check_health
from app.ops.health.doctor import examine
from tests.factories import PASSWORD, make_deal, make_organisation, make_user
from tests.resilience.site import SETTINGS
from tests.servers.postgresql import private_postgres, standby_of
from tests.servers.web import WebServer
from tests.waiting import until


async def test_a_standby_serves_what_it_has_until_it_is_promoted() -> None:
    with private_postgres(wal_level="replica", max_wal_senders="4") as primary:
        primary.prepare()
        url = primary.create_database()
        with standby_of(primary) as standby:
            copy = make_url(url).set(port=standby.url.port).render_as_string(hide_password=False)
            webs = [WebServer(SETTINGS | {"DATABASE_URL": each}) for each in (url, copy)]
            try:
                for web in webs:
                    web.start()
                    await web.wait_until_ready()
                await _see_it(url, copy, standby.url_of(make_url(copy).database or ""), webs)
            finally:
                for web in webs:
                    web.remove()


async def _see_it(url: str, copy: str, copy_url: str, webs: list[WebServer]) -> None:
    on_primary, on_standby = webs
    database = Database(url, name="holdfast-test")
    organisation = await make_organisation(database)
    person = await make_user(database, organisation, is_operator=True)
    deals = [await make_deal(database, organisation, owner=person) for _ in range(2)]
    await database.close()
    async with httpx.AsyncClient(trust_env=False, timeout=15) as http:
        signed_in = await http.post(f"{on_primary.url}/api/auth/login", json={"email": person.email, "password": PASSWORD})
        assert signed_in.status_code == 200
        assert (await http.post(f"{on_primary.url}/api/deals/{deals[0].id}/select")).status_code == 200

        async def has_arrived() -> bool:
            answer = await http.get(f"{on_standby.url}/api/deals/current")
            return answer.status_code == 200 and (answer.json()["deal"] or {}).get("id") == deals[0].id

        await until(has_arrived, within=20)
        for path in (
            "/api/deals",
            "/deals",
            f"/deals/{deals[0].id}/overview",
            f"/deals/{deals[1].id}/findings",
            "/api/me",
            "/ops/",
            "/settings",
        ):
            answer = await http.get(on_standby.url + path, follow_redirects=True)
            assert answer.status_code == 200, (path, answer.text)
            if path == "/ops/":
                assert "read-only" in answer.text
        # Writes, as in an outage.
        refused = await http.post(f"{on_standby.url}/api/deals/{deals[1].id}/select")
        assert (refused.status_code, refused.json()["code"], "retry-after" in refused.headers) == (503, "database_read_only", True)
        typed = {
            "title": "Typed with care",
            "severity": "high",
            "status": "open",
            "owner_id": "",
            "text": "",
            "deal": str(deals[0].id),
            "by": str(person.id),
        }
        page = await http.post(f"{on_standby.url}/deals/{deals[0].id}/findings", data=typed)
        assert (page.status_code, "retry-after" in page.headers, "Typed with care" in page.text) == (503, True, True), page.text
        # Health.
        assert (await http.get(f"{on_standby.url}/health/ready")).status_code == 503
        assert (await http.get(f"{on_standby.url}/health/live")).status_code == 200
        health = await http.get(f"{on_standby.url}/api/health/session")
        assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
        assert health.json()["checks"]["sql"].startswith("read-only")
        async with httpx.AsyncClient(trust_env=False) as anybody:
            assert set((await anybody.get(f"{on_standby.url}/api/health/session")).json()) == {"status", "backend"}
        settings = load_settings({"DATABASE_URL": copy})
        findings = {each.check: each for each in await examine(settings, Clock())}
        assert findings["database"].state == "failed"
        assert findings["database"].found.startswith("read-only")
        assert "worker" not in "".join(each.fix for each in findings.values())
        assert (await check_health(settings)).checks["database"].startswith("read-only")
        assert "Traceback" not in on_standby.output()
        # Promoted, it is whole without a restart.
        connection = await asyncpg.connect(copy_url.replace("+asyncpg", ""))
        await connection.execute("SELECT pg_promote()")
        await connection.close()

        async def works() -> bool:
            return (await http.post(f"{on_standby.url}/api/deals/{deals[1].id}/select")).status_code == 200

        await until(works, within=20)
        assert (await http.get(f"{on_standby.url}/health/ready")).status_code == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_file_that_may_not_be_written(database_url: str) -> None:
    path = database_url.removeprefix("sqlite+aiosqlite:///")
    database = Database(f"sqlite:///file:{path}?mode=ro&uri=true", name="holdfast-test")
    try:
        async with database.read() as db:
            assert await db.scalar(text("SELECT count(*) FROM users")) == 0
        for attempt in (database.ping(), _write(database)):
            with pytest.raises(ReadOnlyDatabase) as refused:
                await attempt
            assert refused.value.reason.startswith("read-only")
            assert "file" in refused.value.fix
    finally:
        await database.close()


async def _write(database: Database) -> None:
    async with database.write() as db:
        await db.execute(text("DELETE FROM users"))
