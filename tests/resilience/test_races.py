"""Races on two real web processes without sticky routing: whichever order they take, nobody sees what neither order allows.

RACE_TRIALS (20) is how often each race is run.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import func, select, text, true, update

from app.core.database import Database
from app.core.errors import DatabaseUnavailable
from app.models import Deal, Login, Session, User
from tests.factories import PASSWORD, make_member
from tests.resilience.conftest import Tell
from tests.resilience.site import WINDOW, Browser, People, Site
from tests.servers import redis
from tests.servers.blocking import blocking
from tests.waiting import until

TRIALS = int(os.environ.get("RACE_TRIALS", "20"))

OTHER_PASSWORD = "staple-battery-horse"


@pytest.fixture(scope="module")
def standing_site(site_database: str) -> Iterator[Site]:
    """Two web processes without a proxy before Redis, and a worker that brings a Redis back into use that was too slow once."""
    store = redis.start("valkey")
    site = Site(site_database, store, settings={"REDIS_URL": store.url, "LOG_LEVEL": "warning"}, lossy=False)
    try:
        site.start()
        yield site
        if site_database.startswith("postgresql"):
            assert blocking(_count_deadlocks, site_database) == 0
    finally:
        site.remove()
        store.remove()


async def _count_deadlocks(database_url: str) -> int:
    database = Database(database_url, name="holdfast-test")
    try:
        async with database.read() as db:
            return int(await db.scalar(text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")) or 0)
    finally:
        await database.close()


class Racers(People):
    """Its people race each other, trial by trial."""

    falls: int
    untold: float
    browsers: list[Browser]

    @property
    def deal(self) -> Deal:
        return self.deals[0]

    @property
    def other(self) -> Deal:
        return self.deals[1]

    async def trials(self, share: int = 1) -> AsyncIterator[int]:
        """RACE_TRIALS / `share` of them, each with sessions in Redis: where the machine is busy a call is too slow now and then."""
        for trial in range(max(1, TRIALS // share)):
            if (await self.flag()).mode == "sql":
                self.falls += 1
                await self.site.wait_for_redis()
            yield trial

    async def browser(self, user: User | None = None, *, on: Deal | None = None, signed_in: bool = True) -> Browser:
        self.browsers.append(await super().browser(user, on=on, signed_in=signed_in))
        return self.browsers[-1]

    async def copy_of(self, browser: Browser) -> Browser:
        """The same cookies as they are now, in a jar of its own."""
        copy = await self.browser(signed_in=False)
        copy.http.cookies, copy.email = httpx.Cookies(browser.http.cookies), browser.email
        return copy

    async def never_shows(self, browser: Browser, deal: Deal) -> bool:
        """No server shows it; where Redis could not even be told that the flag fell, none does after its next look."""
        if deal.id not in await browser.current_everywhere():
            return True
        before, self.untold = self.untold, await self.count_untold()
        if self.untold == before:
            return False

        async def is_gone() -> bool:
            return deal.id not in await browser.current_everywhere()

        await until(is_gone, within=WINDOW)
        return True

    async def count_untold(self) -> float:
        return sum((await self.site.figures("backend_untold")).values())

    async def pointer(self, user: User) -> int | None:
        async with self.database.read() as db:
            return await db.scalar(select(User.last_deal_id).where(User.id == user.id))

    async def sessions(self, user: User) -> list[Session]:
        async with self.database.read() as db:
            return list(await db.scalars(select(Session).where(Session.user_id == user.id)))

    async def expire_sessions(self, user: User, *, login_id: int | None = None) -> None:
        """As after PERMANENT_SESSION_LIFETIME: the logins live on."""
        mine = (Login.user_id == user.id) & (Login.id == login_id if login_id else true())
        concerned = Session.login_id.in_(select(Login.id).where(mine))
        self.site.tell_step("expires")
        hashes: Sequence[str] | None = None
        while hashes is None:
            # SQLite promises no turn to a writer of another process: where the servers are busy, this one asks again.
            with suppress(DatabaseUnavailable):
                async with self.database.write() as db:
                    await db.execute(update(Session).where(concerned).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
                    hashes = (await db.scalars(select(Login.token_hash).where(mine))).all()
        async with Redis.from_url(self.site.redis.url) as client:
            for token_hash in hashes:
                async for key in client.scan_iter(f"hf:*:{token_hash}"):
                    await client.delete(key)
        self.site.tell_step("expired", list(hashes))


@pytest.fixture
async def resources(site: Site, tell: Tell) -> AsyncIterator[Racers]:
    async with Racers.of(site) as resources:
        resources.falls, resources.browsers, resources.untold = 0, [], await resources.count_untold()
        yield resources
    if resources.falls:
        tell("falls of the flag", resources.falls)
    assert [answer for browser in resources.browsers for answer in browser.answers if answer.status >= 500] == []


async def jitter() -> None:
    await asyncio.sleep(random.random() * 0.01)


async def late(work: Any) -> Any:
    await jitter()
    return await work


async def test_select_against_revoke(resources: Racers) -> None:
    owner, viewer = await resources.browser(resources.owner), await resources.browser(resources.viewer)
    async for _ in resources.trials():
        await viewer.select(resources.other)
        selected, revoked = await asyncio.gather(
            late(viewer.select(resources.deal)), late(owner.call("DELETE", f"/api/deals/{resources.deal.id}/members/{resources.viewer.id}"))
        )
        assert selected in (200, 404)
        assert revoked.status_code == 204
        assert await resources.never_shows(viewer, resources.deal)
        assert await resources.pointer(resources.viewer) != resources.deal.id
        again = {"user_id": resources.viewer.id, "role": "viewer"}
        assert (await owner.call("POST", f"/api/deals/{resources.deal.id}/members", json=again)).status_code == 201


async def test_select_against_delete(resources: Racers) -> None:
    owner, viewer = await resources.browser(resources.owner), await resources.browser(resources.viewer)
    async for _ in resources.trials():
        await viewer.select(resources.other)
        selected, deleted = await asyncio.gather(
            late(viewer.select(resources.deal)), late(owner.call("DELETE", f"/api/deals/{resources.deal.id}"))
        )
        assert (selected in (200, 404), deleted.status_code) == (True, 204)
        assert await resources.never_shows(viewer, resources.deal)
        async with resources.database.write() as db:
            await db.execute(update(Deal).where(Deal.id == resources.deal.id).values(deleted_at=None))


async def test_select_against_clear(resources: Racers) -> None:
    here, there = await resources.browser(resources.viewer), await resources.browser(resources.viewer)
    async for _ in resources.trials():
        await there.select(resources.other)
        selected, cleared = await asyncio.gather(late(here.select(resources.deal)), late(there.call("DELETE", "/api/deals/current")))
        assert (selected, cleared.status_code) == (200, 204)
        pointer = await resources.pointer(resources.viewer)
        assert pointer in (None, resources.deal.id)
        assert await here.current_everywhere() == {pointer}


async def test_restore_against_select_and_clear(resources: Racers) -> None:
    here, there = await resources.browser(resources.viewer), await resources.browser(resources.viewer)
    async for trial in resources.trials():
        await there.select(resources.deal)
        await resources.expire_sessions(resources.viewer)
        change = there.call("DELETE", "/api/deals/current") if trial % 2 else there.call("POST", f"/api/deals/{resources.other.id}/select")
        shown, changed = await asyncio.gather(late(here.current()), late(change))
        assert changed.status_code in (200, 204)
        pointer = await resources.pointer(resources.viewer)
        assert pointer == (None if trial % 2 else resources.other.id)
        # A session keeps its own deal when another one selects, but a clear reaches all of them.
        assert await here.current_everywhere() <= ({None} if trial % 2 else {shown})
        assert await there.current_everywhere() == {pointer}


async def test_restore_against_revoke(resources: Racers) -> None:
    owner, viewer = await resources.browser(resources.owner), await resources.browser(resources.viewer)
    async for trial in resources.trials():
        await viewer.select(resources.deal)
        await resources.expire_sessions(resources.viewer)
        back = viewer.sign_in() if trial % 2 else viewer.current()
        _, revoked = await asyncio.gather(
            late(back), late(owner.call("DELETE", f"/api/deals/{resources.deal.id}/members/{resources.viewer.id}"))
        )
        assert revoked.status_code == 204
        assert await resources.never_shows(viewer, resources.deal)
        await make_member(resources.database, resources.deal, resources.viewer)


async def test_parallel_first_requests_of_an_expired_session(resources: Racers) -> None:
    viewer = await resources.browser(resources.viewer)
    await viewer.select(resources.deal)
    async for _ in resources.trials(share=10):
        await resources.expire_sessions(resources.viewer)
        before = await resources.count("deal.restored", resources.viewer)
        assert set(await asyncio.gather(*(viewer.current() for _ in range(20)))) == {resources.deal.id}
        assert await resources.count("deal.restored", resources.viewer) == before + 1
        assert len(await resources.sessions(resources.viewer)) == 1


async def test_parallel_first_requests_without_a_deal_to_come_back_to(resources: Racers) -> None:
    """Nobody is taken for signed out because many others wrote the same session."""
    viewer = await resources.browser(resources.viewer)
    async for _ in resources.trials(share=10):
        await resources.expire_sessions(resources.viewer)
        answers = await asyncio.gather(*(viewer.call("GET", "/api/me") for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}


async def test_first_requests_while_the_last_deal_keeps_changing(resources: Racers) -> None:
    """A restore that finds the person's choice moved again and again is no reason to send them to the login page."""
    here, there = await resources.browser(resources.viewer), await resources.browser(resources.viewer)
    await there.select(resources.deal)
    async with resources.database.read() as db:
        first = await db.scalar(select(func.min(Login.id)).where(Login.user_id == resources.viewer.id))
    done = False

    async def keep_switching() -> None:
        while not done:
            await there.select(random.choice((resources.deal, resources.other)))

    switching = [asyncio.create_task(keep_switching()) for _ in range(3)]
    try:
        async for _ in resources.trials():
            await resources.expire_sessions(resources.viewer, login_id=first)
            assert (await here.call("GET", "/api/me")).status_code == 200
    finally:
        done = True
        await asyncio.gather(*switching)


async def test_two_tabs_two_keys(resources: Racers) -> None:
    """A setting is stated in one tab while another one selects: both stand."""
    viewer = await resources.browser(resources.viewer)
    async for trial in resources.trials():
        theme, deal = ("light", "dark")[trial % 2], (resources.deal, resources.other)[trial % 2]
        await asyncio.gather(late(viewer.call("PATCH", "/api/me", json={"theme": theme})), late(viewer.select(deal)))
        assert await viewer.current_everywhere() == {deal.id}
        assert (await viewer.call("GET", "/api/me")).json()["user"]["theme"] == theme


async def test_late_writes_against_logout(resources: Racers) -> None:
    """What a request under way at a logout still writes revives nothing, on any server."""
    async for _ in resources.trials(share=5):
        tab = await resources.browser(resources.viewer)
        other_tab, thief = await resources.copy_of(tab), await resources.copy_of(tab)
        selected, shown, gone = await asyncio.gather(
            late(other_tab.select(resources.deal)), late(other_tab.call("GET", "/api/me")), late(tab.call("POST", "/api/auth/logout"))
        )
        assert selected in (200, 401)
        assert shown.status_code in (200, 401)
        assert gone.status_code == 204
        for server in range(2):
            assert (await thief.call("GET", "/api/deals/current", server=server)).status_code == 401
    assert await resources.sessions(resources.viewer) == []


async def test_signing_in_against_a_change_of_password(resources: Racers) -> None:
    """No login made with the old password outlives the change."""
    passwords = [PASSWORD, OTHER_PASSWORD]
    mine = await resources.browser(resources.viewer)
    async for _ in resources.trials(share=5):
        old, new = passwords
        others = [await resources.browser(resources.viewer, signed_in=False) for _ in range(3)]
        change = mine.call("POST", "/api/me/password", json={"current_password": old, "new_password": new})
        changed, *signed_in = await asyncio.gather(late(change), *(late(other.sign_in(old)) for other in others))
        if changed.status_code == 409:
            continue
        assert changed.status_code == 200, changed.text
        assert set(signed_in) <= {200, 401}
        for other in others:
            assert (await other.call("GET", "/api/me")).status_code == 401
        assert (await mine.call("GET", "/api/me")).status_code == 200
        passwords.reverse()


async def test_two_browsers_revoke_each_other(resources: Racers) -> None:
    async for _ in resources.trials(share=5):
        browsers = [await resources.browser(resources.viewer) for _ in range(3)]
        answers = await asyncio.gather(*(late(each.call("POST", "/api/logins/revoke-others")) for each in browsers))
        assert {answer.status_code for answer in answers} <= {200, 401}
        alive = [each for each in browsers if (await each.call("GET", "/api/me")).status_code == 200]
        assert len(alive) <= 1


async def test_clients_that_hang_up_during_a_select(resources: Racers) -> None:
    """Exactly the old or the new deal, no connection lost, and the next ones are served."""
    viewer = await resources.browser(resources.viewer)
    await viewer.select(resources.deal)
    cookies = "; ".join(f"{name}={value}" for name, value in viewer.http.cookies.items())

    async def hang_up() -> None:
        server = random.choice(resources.site.webs)
        deal = random.choice((resources.deal, resources.other))
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /api/deals/{deal.id}/select HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookies}\r\nContent-Length: 0\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        await asyncio.sleep(random.random() * 0.03)
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async for _ in resources.trials(share=5):
        await asyncio.gather(*(hang_up() for _ in range(10)))

    async def is_settled() -> bool:  # a write whose client is gone goes on to its end, and others wait behind it
        before = await version()
        await asyncio.sleep(0.5)
        return await version() == before and len(await viewer.current_everywhere()) == 1

    async def version() -> int | None:
        async with resources.database.read() as db:
            return await db.scalar(select(func.max(Session.version)).where(Session.user_id == resources.viewer.id))

    await until(is_settled, within=20)
    answers = await asyncio.gather(*(viewer.select(resources.other) for _ in range(8)))
    assert set(answers) == {200}
    assert await viewer.current_everywhere() == {resources.other.id}


async def test_parallel_selects_of_one_session_are_all_served(resources: Racers) -> None:
    viewer = await resources.browser(resources.viewer)
    answers = await asyncio.gather(*(viewer.select(random.choice((resources.deal, resources.other))) for _ in range(16)))
    assert set(answers) == {200}
    assert await viewer.current_everywhere() == {await resources.pointer(resources.viewer)}
