"""A web process dies at a chosen point of a write: what it left is exactly the old or the new, and never comes back."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Literal, NamedTuple

import asyncpg
import httpx
import pytest
from sqlalchemy import make_url

from tests.conftest import StartRedis
from tests.resilience.matrix import across
from tests.resilience.site import Browser, People, Site
from tests.waiting import until

# Long enough that the process is dead before its Redis call is given up.
REDIS_TIMEOUT = "2"


class Point(NamedTuple):
    """Where the write stands still, and whether it must be found afterwards."""

    command: bytes
    keeps: Literal["request", "answer"]
    done: bool


POINTS = {
    "before the hold": Point(b"SET", "request", done=False),
    "held, before the commit": Point(b"SET", "answer", done=False),
    "committed, before the publish": Point(b"EVALSHA", "request", done=True),
    "published, before the answer": Point(b"EVALSHA", "answer", done=True),
}


@pytest.fixture
async def site(database_url: str, start_redis: StartRedis) -> AsyncIterator[Site]:
    site = Site(database_url, start_redis(), worker=False, settings={"REDIS_TIMEOUT_SECONDS": REDIS_TIMEOUT})
    try:
        await asyncio.to_thread(site.start)
        yield site
    finally:
        site.remove()


@pytest.fixture
async def people(site: Site) -> AsyncIterator[People]:
    async with People.of(site) as people:
        yield people


def of_a_session(command: bytes) -> Callable[[bytes], bool]:
    """A writer's call: a hold, or the publish of one. A reader's leases are NX, and its refills are not made here."""
    return lambda sent: b"\r\n" + command + b"\r\n" in sent and b":s:" in sent and b"NX" not in sent


async def dies_during(browser: Browser, point: Point, method: str, path: str) -> None:
    """The browser's request to the first server never gets its answer: the server is killed at the point."""
    site = browser.site
    sprung: threading.Event = site.proxies[0].trap(of_a_session(point.command), keeps=point.keeps)
    request = asyncio.create_task(browser.call(method, path, server=0))
    assert await asyncio.to_thread(sprung.wait, 10), "the write never came to this point"
    if not point.done and path.endswith("/select") and not site.database_url.startswith("sqlite"):
        # Its statements are done beside the hold, and the commit waits for it. (Other writers do not even begin.)
        await until(lambda: stands_before_its_commit(site))
    site.webs[0].kill()
    with pytest.raises(httpx.TransportError):
        await request


async def stands_before_its_commit(site: Site) -> bool:
    url = make_url(site.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(url)
    try:
        return bool(
            await connection.fetchval(
                "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
                " AND clock_timestamp() - state_change > interval '50 ms'"
            )
        )
    finally:
        await connection.close()


async def back_again(site: Site) -> None:
    site.webs[0].start()
    await site.webs[0].wait_until_ready()


@across("name", POINTS, fixture="database_url")
async def test_select(site: Site, people: People, name: str) -> None:
    point = POINTS[name]
    browser = await people.browser(on=people.deals[0])
    assert await browser.select(people.deals[1], server=0) == 200  # what is published by now, Redis knows the script of
    witness = await people.bystander(browser)
    await dies_during(browser, point, "POST", f"/api/deals/{people.deals[2].id}/select")
    expected = people.deals[2 if point.done else 1].id
    assert await witness.current(1) == expected
    assert await browser.current(1) == expected
    await back_again(site)
    assert await witness.current_everywhere() == {expected}
    # A new login comes back to the same deal, and the next selection works.
    newcomer = await people.browser()
    assert await newcomer.current_everywhere() == {expected}
    assert await browser.select(people.deals[0]) == 200
    assert await witness.current_everywhere() == {people.deals[0].id}
    assert await people.count("deal.selected") == 3 + point.done


@across("name", ["held, before the commit", "committed, before the publish"], fixture="database_url")
async def test_logout(site: Site, people: People, name: str) -> None:
    point = POINTS[name]
    await (await people.browser(on=people.deals[1])).call("POST", "/api/auth/logout", server=0)
    browser = await people.browser(on=people.deals[0])
    thief = await people.bystander(browser)
    await dies_during(browser, point, "POST", "/api/auth/logout")
    expected = 401 if point.done else 200
    assert (await thief.call("GET", "/api/me", server=1)).status_code == expected
    await back_again(site)
    assert await thief.status_everywhere() == {expected}
    assert await (await people.browser()).current_everywhere() == {people.deals[0].id}


@across("name", ["held, before the commit", "committed, before the publish"], first="postgresql", fixture="database_url")
async def test_revoke(site: Site, people: People, name: str) -> None:
    point = POINTS[name]
    viewer = await people.browser(on=people.deals[0])
    witness = await people.bystander(viewer)
    owner = await people.browser(people.owner, on=people.deals[0])
    # The script is known, and the viewer's record is warm.
    assert (await owner.call("DELETE", f"/api/deals/{people.deals[1].id}/members/{people.viewer.id}", server=0)).status_code == 204
    assert await viewer.current_everywhere() == {people.deals[0].id}
    await dies_during(owner, point, "DELETE", f"/api/deals/{people.deals[0].id}/members/{people.viewer.id}")
    expected = None if point.done else people.deals[0].id
    assert await witness.current(1) == expected
    await back_again(site)
    assert await witness.current_everywhere() == {expected}
