"""The shell in a real browser: switching by keyboard, tabs that tell each other, notices with their undo, the board, the bin."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route, expect
from sqlalchemy import select, update

from app.core.database import Database
from app.models import Deal, Event, User, UserNotice
from tests.browser.office import Office, is_current
from tests.browser.visitor import BROWSER_TESTS, Visitor, make_visitor
from tests.conftest import StartWeb
from tests.factories import PASSWORD, make_member, make_organisation, make_user
from tests.servers.web import ROOT
from tests.waiting import until

pytestmark = [*BROWSER_TESTS, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

EXPORT = Path(ROOT) / "app" / "demo" / "data" / "acquisitions.csv"

SHOWN_AT_ONCE = 8


async def test_deal_is_found_and_switched_to_by_keyboard_among_all_that_were_imported(
    browser: Browser, database: Database, database_url: str, start_web: StartWeb
) -> None:
    organisation = await make_organisation(database, name="Everything")
    admin = await make_user(database, organisation, role="admin")
    command = [sys.executable, "-m", "app", "import", str(EXPORT), "--organisation", organisation.name]
    environ = {"DATABASE_URL": database_url, "SECRET_KEY": "only-for-tests-" * 3, "PATH": ""}
    importing = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environ, stdout=PIPE, stderr=PIPE)
    assert await importing.wait() == 0, await importing.communicate()
    visitor = await make_visitor(browser, (await start_web()).url)
    page, keys = visitor.page, visitor.page.keyboard

    await visitor.open("/login")
    await keys.type(admin.email)
    await keys.press("Tab")
    await keys.type(PASSWORD)
    await keys.press("Enter")
    await expect(page.locator(".count")).to_have_text("1,643 deals")

    # The third stop: skip link, mark, switcher.
    for _ in range(3):
        await keys.press("Tab")
    await expect(page.get_by_label("Choose a deal")).to_be_focused()
    await keys.press("Enter")
    box, options = page.get_by_role("combobox"), page.get_by_role("option")
    await expect(box).to_be_focused()
    await keys.type("skype")
    # What is called so comes before the many that mention it.
    await expect(options.first).to_contain_text("Skype")
    await keys.press("Escape")
    await expect(page.get_by_label("Choose a deal")).to_be_focused()
    await keys.press("Enter")
    await keys.type("andr")
    await expect(options.first).to_contain_text("Android")
    # Who types on and pins at once means what they typed, and is told of it last.
    await page.route("**/api/deals/list?*android*", arrive_late)
    async with page.expect_response("**/api/deals/list?*android*"):
        await keys.type("oid")
        await keys.press("Alt+p")
    await expect(page.locator("[data-switcher-status]")).to_have_text("Android pinned")
    await keys.press("Enter")
    await page.wait_for_url("**/overview")
    await is_current(page, "Android")

    await keys.press("Control+k")
    await expect(page.get_by_role("dialog").get_by_role("combobox")).to_be_focused()
    await keys.type("youtube")
    await expect(options.first).to_contain_text("YouTube")
    assert await options.count() <= SHOWN_AT_ONCE + 1
    await keys.press("Enter")
    await is_current(page, "YouTube")
    await expect(page.locator("[data-switched]")).to_contain_text("Switched to YouTube")
    await page.get_by_role("button", name="Undo").press("Enter")
    await is_current(page, "Android")
    await expect(page.get_by_role("button", name="Undo")).to_have_count(0)  # the room of one is kept, and nobody sees it

    await keys.press("g")
    await keys.press("t")
    await page.wait_for_url("**/team")
    await keys.press("?")
    await expect(page.get_by_role("dialog", name="Keyboard")).to_contain_text("Pin or unpin the deal")
    await keys.press("Escape")
    await is_left(page)
    await keys.press("g")
    await keys.press("d")
    await page.wait_for_url("**/deals")
    await expect(page.get_by_role("navigation", name="Pinned deals")).to_contain_text("Android")
    await keys.press("/")
    await keys.type("?")
    await expect(page.get_by_label("Search by name, acquirer or what it does")).to_have_value("?")
    assert visitor.complaints == []


async def is_left(page: Page) -> None:
    """The dialog is closed, which Escape does a moment later, and keys go to the page again."""
    await expect(page.locator("dialog[open], dialog :focus")).to_have_count(0)


async def arrive_late(route: Route) -> None:
    await asyncio.sleep(0.3)
    await route.continue_()


async def test_palette_reaches_pages_and_actions(office: Office, lead: Visitor) -> None:
    page, keys = lead.page, lead.page.keyboard
    await lead.open(f"/deals/{office.deals[0].id}/overview")
    await is_current(page, "Mojang")
    for words, expected in (
        ("activ", f"**/deals/{office.deals[0].id}/activity"),
        ("new deal", "**/deals/new"),
        ("settings", "**/settings"),
    ):
        await page.get_by_role("button", name="Search or jump to…").click()
        await expect(page.get_by_role("dialog").get_by_role("option").first).to_be_visible()
        await keys.type(words)
        await keys.press("Enter")
        await page.wait_for_url(expected)
    # Words typed while the palette is on its way are meant for it.
    await page.route("**/palette*.js*", arrive_late)
    await keys.press("Control+k")
    await keys.type("dark")
    await expect(page.get_by_role("dialog").get_by_role("option").first).to_have_text("Theme: Dark")
    async with page.expect_response("**/api/me") as kept:
        await keys.press("Enter")
    assert (await kept.value).ok
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    await keys.press("Control+k")
    await keys.type("sign out")
    await keys.press("Enter")
    await page.wait_for_url("**/login")
    assert lead.complaints == []


async def test_two_tabs_keep_their_deals_and_say_what_happens_elsewhere(
    browser: Browser, office: Office, lead: Visitor, database: Database
) -> None:
    """Also: another browser of the same person is not moved, and a deal that is taken away says so on its page."""
    mojang, youtube = office.deals[:2]
    first, second = lead.page, await lead.context.new_page()
    await lead.open(f"/deals/{mojang.id}/overview")
    await is_current(first, "Mojang")
    elsewhere = await make_visitor(browser, office.url)
    await elsewhere.sign_in(office.lead.email)
    await is_current(elsewhere.page, "Mojang")

    await second.goto(f"{office.url}/deals/{youtube.id}/activity")
    await is_current(second, "YouTube")
    await expect(first.locator("[data-toasts]")).to_contain_text("You switched to YouTube in another tab. This tab stays on Mojang.")
    await expect(first).to_have_title("Mojang · Overview · Holdfast")
    await first.get_by_role("button", name="Stay").click()
    await expect(first.locator("[data-toasts]")).not_to_contain_text("another tab")
    await first.reload()
    await is_current(first, "Mojang")
    await second.bring_to_front()
    await expect(second.locator("[data-toasts]")).to_contain_text("You switched to Mojang in another tab.")
    await second.get_by_role("link", name="Switch", exact=True).click()
    await second.wait_for_url(f"**/deals/{mojang.id}/activity")
    await expect(elsewhere.page.locator("[data-toasts]")).not_to_contain_text("another tab")

    # One stream for both tabs, whoever holds the lock.
    locks = "navigator.locks.query().then((all) => [all.held.length, all.pending.length])"

    async def is_shared() -> bool:
        return bool(await first.evaluate(locks) == [1, 1])

    await until(is_shared)

    colleague = await make_visitor(browser, office.url)
    await colleague.sign_in(office.colleague.email)
    await colleague.page.wait_for_url("**/deals")
    await colleague.page.wait_for_load_state("networkidle")
    skype = office.deals[2]
    await api(lead, "POST", f"/api/deals/{skype.id}/members", {"user_id": office.colleague.id, "role": "viewer"})
    await expect(colleague.page.locator("[data-toasts]")).to_contain_text("Skype was shared with you as viewer.")
    await colleague.page.get_by_role("link", name="Open").click()
    await is_current(colleague.page, "Skype")
    await api(lead, "DELETE", f"/api/deals/{skype.id}/members/{office.colleague.id}")
    gone = colleague.page.get_by_role("alert")
    await expect(gone).to_contain_text("This deal is no longer available to you.")
    # Nothing was loaded over what was typed.
    await expect(colleague.page).to_have_title("Skype · Overview · Holdfast")
    await gone.get_by_role("link", name="Mojang").click()
    await is_current(colleague.page, "Mojang")
    assert lead.complaints == elsewhere.complaints == colleague.complaints == []


async def test_without_locks_each_tab_listens_while_it_is_seen(browser: Browser, office: Office, lead: Visitor) -> None:
    """As over plain http to another machine, where browsers have none."""
    colleague = await make_visitor(browser, office.url)
    await colleague.context.add_init_script(
        """delete Navigator.prototype.locks;
        const streams = (window.streams = []);
        window.EventSource = class extends EventSource {
          constructor(url) {
            super(url);
            this.addEventListener("hello", () => streams.push(this));
          }
        };
        window.turn = (seen) => {
          Object.defineProperty(document, "visibilityState", { value: seen ? "visible" : "hidden", configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        };"""
    )
    await colleague.sign_in(office.colleague.email)
    page, opened = colleague.page, "() => streams.filter((stream) => stream.readyState === EventSource.OPEN).length === %d"
    await page.wait_for_url("**/deals")
    await page.wait_for_function(opened % 1)
    skype = office.deals[2]
    await api(lead, "POST", f"/api/deals/{skype.id}/members", {"user_id": office.colleague.id, "role": "viewer"})
    await expect(page.locator("[data-toasts]")).to_contain_text("Skype was shared with you as viewer.")
    await page.evaluate("turn(false)")
    await page.wait_for_function(opened % 0)
    await page.evaluate("turn(true)")
    await page.wait_for_function(opened % 1)
    await page.get_by_role("link", name="Open").click()
    await is_current(page, "Skype")
    await page.wait_for_function(opened % 1)
    await api(lead, "DELETE", f"/api/deals/{skype.id}/members/{office.colleague.id}")
    await expect(page.get_by_role("alert")).to_contain_text("This deal is no longer available to you.")
    assert colleague.complaints == []


async def test_a_grant_that_runs_out_is_heard_of_on_the_open_page(browser: Browser, office: Office, database: Database) -> None:
    colleague = await make_visitor(browser, office.url)
    await colleague.sign_in(office.colleague.email)
    await colleague.page.wait_for_url("**/deals")
    await make_member(database, office.deals[2], office.colleague, role="viewer", expires_at=datetime.now(UTC) + timedelta(seconds=8))
    await colleague.open(f"/deals/{office.deals[2].id}/overview")
    await is_current(colleague.page, "Skype")
    await expect(colleague.page.get_by_role("alert")).to_contain_text("This deal is no longer available to you.", timeout=20_000)


async def test_restore_is_undone_in_this_browser_only(browser: Browser, office: Office, lead: Visitor, database: Database) -> None:
    await lead.open(f"/deals/{office.deals[1].id}/overview")
    await is_current(lead.page, "YouTube")
    for script in (True, False):
        again = await make_visitor(browser, office.url, java_script_enabled=script)
        await again.sign_in(office.lead.email)
        await expect(again.page.get_by_role("status")).to_contain_text("Back in YouTube, where you left off")
        await again.page.get_by_role("button", name="Undo").click()
        await again.page.wait_for_url("**/deals?done=undone")
        await expect(again.page.get_by_role("status")).to_contain_text("still come back to it")
        await again.open("/workspace")
        await expect(again.page.get_by_role("heading", level=1)).to_have_text("Choose a deal to work on")
        assert again.complaints == []
    await lead.open("/workspace")
    await expect(lead.page.get_by_role("heading", level=1)).to_have_text("YouTube")
    async with database.read() as db:
        assert (await db.get_one(User, office.lead.id)).last_deal_id == office.deals[1].id
        assert len(list(await db.scalars(select(Event).where(Event.kind == "deal.restore_undone")))) == 2


async def test_opening_a_deal_is_not_told_as_if_another_tab_had_done_it(office: Office, lead: Visitor) -> None:
    """The stream may say what this person is on before the page has said what it makes them be on."""
    page, heard, offers = lead.page, asyncio.Event(), []
    await lead.open(f"/deals/{office.deals[0].id}/overview")
    await is_current(page, "Mojang")

    async def hold(route: Route) -> None:
        await heard.wait()
        offers.append(await page.locator("[data-kind=elsewhere]").count())
        await route.continue_()

    await page.route("**/select?page=*", hold)
    # What the page does next, once it has heard.
    page.on("request", lambda request: heard.set() if "/api/notices" in request.url else None)
    await lead.open(f"/deals/{office.deals[1].id}/overview")
    await is_current(page, "YouTube")
    assert offers == [0]


async def test_every_page_and_state_of_the_shell_is_accessible(browser: Browser, office: Office, database: Database) -> None:
    visitor = await make_visitor(browser, office.url, reduced_motion="reduce")
    page, keys = visitor.page, visitor.page.keyboard
    async with database.write() as db:
        await db.execute(update(Deal).where(Deal.name == "Skype").values(deleted_at=office.deals[2].created_at))
        db.add_all(
            UserNotice(
                user_id=office.lead.id,
                sequence=number,
                kind=kind,
                event_id=number,
                actor_id=office.colleague.id,
                deal_id=deal.id,
                payload={"role": "editor"},
                created_at=deal.created_at,
            )
            for number, (kind, deal) in enumerate(
                zip(("deal.shared", "deal.role_changed", "deal.transferred"), office.deals, strict=True), 1
            )
        )
    await visitor.sign_in(office.lead.email)
    await page.wait_for_url("**/deals")
    found = {}
    pages = {"board": "/deals/board", "no match": "/deals/board?q=zebra", "bin": "/deals/bin", "new": "/deals/new", "notices": "/notices"}
    for name, address in pages.items():
        await visitor.open(address)
        found[name] = await visitor.look()
    await expect(page.locator(".inbox")).to_contain_text("Ben Colleague shared Mojang with you; you can edit it")
    await expect(page.locator(".inbox")).not_to_contain_text("Skype")
    await visitor.open("/deals/new")
    await page.get_by_role("button", name="Create deal").click()
    found["new, refused"] = await visitor.look()
    await visitor.open(f"/deals/{office.deals[0].id}/overview")
    await is_current(page, "Mojang")
    await visitor.open(f"/deals/{office.deals[1].id}/overview")
    await expect(page.locator("[data-switched]")).to_contain_text("Switched to YouTube")
    found["switched"] = await visitor.look()
    await keys.press("Control+k")
    await expect(page.get_by_role("option").first).to_be_visible()
    found["palette"] = await visitor.look()
    await keys.press("Escape")
    await is_left(page)
    await keys.press("?")
    await expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    found["keys"] = await visitor.look()
    await keys.press("Escape")
    for label in ("What you can do with YouTube", "Your menu"):
        await page.get_by_label(label).click()
        found[label] = await visitor.look()
    assert not {name: problems for name, problems in found.items() if problems}
    assert [each for each in visitor.complaints if "400" not in each] == []


async def api(visitor: Visitor, method: str, path: str, body: object = None) -> None:
    response = await visitor.context.request.fetch(visitor.url + path, method=method, data=body)
    assert response.ok, await response.text()
