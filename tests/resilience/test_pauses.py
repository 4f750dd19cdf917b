"""A web process stands still while Redis hangs and another process ends a login: when both go on, nothing of it is served.

PAUSE_TRIALS (4) is how often.
"""

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from tests.resilience.conftest import Tell
from tests.resilience.site import People, Site
from tests.servers import redis
from tests.waiting import until

TRIALS = int(os.environ.get("PAUSE_TRIALS", "4"))
# Of the process, longer than a poll in tests.
PAUSE = 1.0


@pytest.fixture(scope="module")
def standing_site(site_database: str) -> Iterator[Site]:
    store = redis.start("valkey")
    site = Site(site_database, store, settings={"REDIS_URL": store.url})
    try:
        site.start()
        yield site
    finally:
        site.remove()
        store.remove()


async def test_a_paused_process_serves_nothing_that_was_ended_while_redis_hung(site: Site, people: People, tell: Tell) -> None:
    wrong, asked, began = 0, 0, time.perf_counter()
    for trial in range(TRIALS):
        await site.wait_for_redis()
        browser = await people.browser(on=people.deals[0])
        bystander = await people.bystander(browser)
        assert await bystander.current(1) == people.deals[0].id
        assert await bystander.current(1) == people.deals[0].id
        stopped_at = time.monotonic()
        site.webs[1].stop()
        try:
            site.redis.stop()
            what = ("POST", "/api/auth/logout") if trial % 2 else ("DELETE", "/api/deals/current")
            answer = await browser.call(*what, server=0)
            assert answer.status_code < 300, answer.text
            site.redis.cont()
            # Of this pause nobody has a condition: it is over when the clock says so.
            await until(lambda since=stopped_at: time.monotonic() - since > PAUSE)  # type: ignore[misc]
        finally:
            site.redis.cont()
            site.webs[1].cont()
        seen = await asyncio.gather(*[bystander.call("GET", "/api/deals/current", server=1) for _ in range(3)])
        asked += len(seen)
        wrong += sum(each.status_code == 200 and each.json()["deal"] is not None for each in seen)
        assert all(each.status_code in (200, 401) for each in seen)
    tell("wrong after a pause", f"{wrong} of {asked} in {time.perf_counter() - began:.0f} s")
    assert wrong == 0
