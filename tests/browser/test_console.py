"""The console in a real browser, at a site with a worker and a Redis that can be killed."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Browser, expect
from sqlalchemy import insert

from app.core.database import Database
from app.models import DeadLetter, JobRun
from tests.browser.visitor import BROWSER_TESTS, PHONE, Visitor, make_visitor, on_the_loop
from tests.conftest import StartRedis, StartWeb
from tests.factories import make_user
from tests.resilience.site import WorkerProcess
from tests.servers.redis import RedisServer
from tests.servers.web import WebServer

pytestmark = [*BROWSER_TESTS, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

PAGES = ("/ops", "/ops/sessions", "/ops/jobs", "/ops/streams", "/ops/users?q=operator@test.example")
# Of what this machine may take its time for: starting processes, and the return of Redis.
TIMEOUT = 20_000


class Site:
    """A web process, a worker, a Redis, and an operator at a browser. Runs have failed here before."""

    web: WebServer
    worker: WorkerProcess
    redis: RedisServer
    operator: Visitor
    failed: list[int]


@on_the_loop
async def site(
    browser: Browser, database: Database, start_web: StartWeb, start_redis: StartRedis, environ: dict[str, str]
) -> AsyncIterator[Site]:
    site = Site()
    site.redis = start_redis()
    with_redis = {"REDIS_URL": site.redis.url, "SESSION_BACKEND_POLL_SECONDS": "0.5", "PROBE_INTERVAL_SECONDS": "0.25"}
    site.web = await start_web(with_redis)
    site.worker = WorkerProcess(environ | with_redis)
    site.worker.start()
    user = await make_user(database, is_operator=True, email="operator@test.example", name="Olive Operator")
    now = datetime.now(UTC)
    row = {"trigger": "cli", "due_at": now, "queued_at": now, "started_at": now, "payload": {}, "earlier_attempts": []}
    failure = {"status": "failed", "attempt": 3, "error_class": "TimeoutError", "error": "too slow", "traceback": "Traceback …"}
    rows = [
        row | failure | {"name": "expire_sessions", "took_ms": 5000, "counts": {}, "finished_at": now - timedelta(minutes=each)}
        for each in range(3)
    ]
    async with database.write() as db:
        site.failed = list(await db.scalars(insert(JobRun).returning(JobRun.id), rows))
        letter = {"consumer_group": "analytics", "entry_id": "0-1", "content": {}, "error": "no event", "deliveries": 5, "dead_at": now}
        await db.execute(insert(DeadLetter).values(letter))
    site.operator = await make_visitor(browser, site.web.url, reduced_motion="reduce")
    await site.operator.sign_in(user.email)
    await site.operator.page.wait_for_url("**/deals")
    await site.worker.wait_until_ready()
    yield site
    site.worker.remove()


async def test_jobs_are_run_and_retried_and_the_page_follows_by_itself(site: Site) -> None:
    page = site.operator.page
    await site.operator.open("/ops/jobs")
    await expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="sweep_stale_deals"))
    await expect(row).to_contain_text("never", timeout=TIMEOUT)
    await row.get_by_role("button", name="Run now").click()
    await expect(page.locator("#main").get_by_text("Queued. A worker takes it up")).to_be_visible()
    # No reload: the worker does it, and the stream tells.
    await expect(row).to_contain_text("succeeded", timeout=TIMEOUT)
    await row.get_by_role("link", name="just now").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Run ")
    await expect(page.get_by_text("asked for by operator@test.example", exact=True)).to_be_visible()

    await site.operator.open("/ops/jobs")
    failures = page.get_by_role("region", name="Open failures")
    await expect(failures.get_by_role("row")).to_have_count(2)
    await failures.get_by_text("Retry all…").click()
    await failures.get_by_role("button", name="Yes, retry them").click()
    await expect(page.locator("#main").get_by_text("no longer counts among the open failures")).to_be_visible()
    await expect(failures).to_have_count(0)
    history = page.get_by_role("region", name="History of runs")
    again = (
        history.get_by_role("row").filter(has_text="operator@test.example").filter(has_text="expire_sessions").filter(has_text="succeeded")
    )
    await expect(again).to_have_count(3, timeout=TIMEOUT)

    await page.get_by_role("button", name="Pause", exact=True).click()
    await expect(page.get_by_role("status").filter(has_text="Paused")).to_be_visible()
    await page.get_by_role("button", name="Resume", exact=True).click()
    await expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    await page.get_by_label("Status", exact=True).select_option("failed")
    await page.wait_for_url("**/ops/jobs?status=failed#history")
    await expect(history.get_by_role("row")).to_have_count(1 + len(site.failed))
    assert site.operator.complaints == []


async def test_redis_goes_and_comes_back_on_a_page_that_stays_open(browser: Browser, site: Site) -> None:
    page = site.operator.page
    await site.operator.open("/ops/sessions")
    using = page.locator(".tile").filter(has_text="Sessions are read from")
    await expect(using).to_contain_text("Redis", timeout=TIMEOUT)
    site.redis.kill()
    await expect(page.get_by_text("Redis is not in use.")).to_be_visible(timeout=TIMEOUT)
    await expect(using).to_contain_text("SQL")
    for path in PAGES:
        assert await site.operator.open(path) == 200
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert await site.operator.axe() == [], path
        await page.emulate_media(color_scheme="dark")
        assert await site.operator.axe() == [], path
        await page.emulate_media(color_scheme="light")
    await site.operator.open("/ops/sessions")
    site.redis.restart()
    await expect(page.get_by_text("Redis is not in use.")).to_have_count(0, timeout=TIMEOUT)
    await expect(using).to_contain_text("Redis")
    flips = page.get_by_role("region", name="Flips of the session backend").get_by_role("row")
    await expect(flips.nth(1)).to_contain_text("probe: Redis is healthy again")
    # Its own Redis was away, so the fetches of these pages may be told; what is wrong with a page is still heard.
    assert [each for each in site.operator.complaints if "policy:" in each] == []

    dark = await make_visitor(browser, site.web.url, color_scheme="dark", viewport=PHONE, reduced_motion="reduce")
    await dark.sign_in("operator@test.example")
    await dark.page.wait_for_url("**/deals")
    for path in (*PAGES, f"/ops/jobs/runs/{site.failed[0]}"):
        assert await dark.open(path) == 200
        await expect(dark.page.get_by_role("heading", level=1)).to_be_visible()
        assert await dark.axe() == [], path
        assert not await dark.overflows(), path
    assert dark.complaints == []
