"""The pages in a real browser: the main job, with and without a script, for eyes, ears, keyboards and phones."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import pytest
from playwright.async_api import Browser, expect
from sqlalchemy import delete, update

from app.core.database import Database
from app.models import Deal, Member, User, Visit
from tests.browser.visitor import BROWSER_TESTS, Visitor, make_visitor, on_the_loop
from tests.conftest import StartWeb
from tests.factories import make_deal, make_organisation, make_user

pytestmark = [*BROWSER_TESTS, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

MAX_BYTES = 60 * 1024


@dataclass
class Office:
    """One organisation: a lead who owns all deals, an analyst who views all, somebody who sees none."""

    url: str
    lead: User
    analyst: User
    nobody: User
    deals: list[Deal]

    @property
    def youtube(self) -> Deal:
        return self.deals[0]


@on_the_loop
async def office(database: Database, start_web: StartWeb) -> Office:
    organisation = await make_organisation(database, name="Google")
    lead, analyst, nobody = [await make_user(database, organisation, name=name) for name in ("Lead", "Analyst", "Nobody")]
    facts = {
        "acquirer": "Google",
        "stage": "closed",
        "status": "Complete",
        "terms": "Stock",
        "price_usd": 1_650_000_000,
        "announced_on": date(2006, 10, 9),
        "announced_year": 2006,
        "tagline": "Watch and share videos.",
        "categories": "Video, Games",
        "founded_year": 2005,
        "city": "San Bruno",
        "region": "California",
        "country": "United States",
        "homepage": "http://www.youtube.com",
        "profile_url": "http://www.crunchbase.com/acquisition/1",
        "news_title": "Google has acquired YouTube",
        "news_url": "http://techcrunch.com/2006/10/09/",
        "external_ref": "Google acquired YouTube in 2006",
    }
    deals = [await make_deal(database, organisation, owner=lead, name="YouTube", **facts)]
    names = [f"Target {number:02}" for number in range(55)]
    now = datetime.now(UTC)
    common = {"organisation_id": organisation.id, "owner_id": lead.id, "created_at": now, "updated_at": now}
    async with database.write() as db:
        deals += [Deal(name=name, acquirer="Google", tagline="Maps", **common) for name in names]
        deals.append(Deal(name="Old deal", archived_at=now, **common))
        db.add_all(deals[1:])
        await db.flush()
        db.add_all(Member(deal_id=deal.id, user_id=analyst.id, role="viewer", created_at=now) for deal in deals)
    server = await start_web()
    return Office(server.url, lead, analyst, nobody, deals)


@on_the_loop
async def analyst(browser: Browser, office: Office) -> Visitor:
    """The analyst, signed in at a desk, with no deal chosen yet."""
    visitor = await make_visitor(browser, office.url)
    await visitor.sign_in(office.analyst.email)
    await visitor.page.wait_for_url("**/deals")
    return visitor


def addresses(office: Office) -> dict[str, str]:
    """By what they show: every page a signed-in person can open."""
    return {
        "list": "/deals",
        "no match": "/deals?q=zebra",
        "archived": "/deals?archived=true",
        "overview": f"/deals/{office.youtube.id}/overview",
        "few facts": f"/deals/{office.deals[-1].id}/overview",
        "team": f"/deals/{office.youtube.id}/team",
        "activity": f"/deals/{office.youtube.id}/activity",
        "settings": "/settings",
        "gone": "/deals/999999/overview",
        "not found": "/nothing",
        "refused": "/deals?sort=sideways",
    }


async def test_deal_chosen_in_the_switcher_is_open_in_the_next_browser(browser: Browser, office: Office, analyst: Visitor) -> None:
    page = analyst.page
    await page.get_by_label("Choose a deal").click()
    box = page.get_by_role("combobox")
    await expect(box).to_be_focused()
    await box.press_sequentially("you")
    # Faster than the list can follow: it is what was typed that counts.
    await box.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("YouTube")
    await expect(page).to_have_title("YouTube · Overview · Holdfast")
    await expect(page.get_by_label("Current deal: YouTube")).to_be_visible()

    elsewhere = await make_visitor(browser, office.url)
    await elsewhere.sign_in(office.analyst.email)
    await expect(elsewhere.page.get_by_role("heading", level=1)).to_have_text("YouTube")
    await expect(elsewhere.page.get_by_role("status")).to_contain_text("Back in YouTube, where you left off just now.")
    assert analyst.complaints == elsewhere.complaints == []


async def test_switcher_moves_by_arrows_and_gives_the_focus_back(analyst: Visitor) -> None:
    page = analyst.page
    await page.get_by_label("Choose a deal").click()
    box = page.get_by_role("combobox")
    options = page.get_by_role("option")
    await box.press_sequentially("you")
    await expect(options).to_have_count(1)
    await box.fill("target")
    await expect(options).to_have_count(8)
    await box.press("ArrowDown")
    await expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    await box.press("ArrowUp")
    await box.press("ArrowUp")
    await expect(options.nth(7)).to_have_attribute("aria-selected", "true")
    assert await box.get_attribute("aria-activedescendant") == await options.nth(7).get_attribute("id")
    await box.press("Escape")
    await expect(box).to_be_hidden()
    await expect(page.get_by_label("Choose a deal")).to_be_focused()


async def test_opened_deal_becomes_the_current_one(office: Office, analyst: Visitor) -> None:
    await analyst.page.get_by_role("link", name="Target 54").click()
    await expect(analyst.page.get_by_text("Current deal", exact=True)).to_be_visible()
    await analyst.open("/settings")
    await expect(analyst.page.get_by_label("Current deal: Target 54")).to_be_visible()


async def test_page_nobody_looks_at_moves_nobody(browser: Browser, office: Office) -> None:
    visitor = await make_visitor(browser, office.url)
    await visitor.sign_in(office.analyst.email)
    await visitor.context.add_init_script("Object.defineProperty(document, 'visibilityState', {get: () => window.shown ?? 'hidden'})")
    posts: list[str] = []
    visitor.page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    await visitor.open(f"/deals/{office.youtube.id}/overview")
    await visitor.page.wait_for_load_state("networkidle")
    assert posts == []
    async with visitor.page.expect_response("**/select?page=overview") as selected:
        await visitor.page.evaluate("window.shown = 'visible'; document.dispatchEvent(new Event('visibilitychange'))")
    assert (await selected.value).ok


async def test_page_asked_for_is_opened_after_signing_in(browser: Browser, office: Office) -> None:
    visitor = await make_visitor(browser, office.url)
    await visitor.open("/deals?q=target&sort=name")
    await visitor.sign_in(office.analyst.email)
    await visitor.page.wait_for_url("**/deals?q=target&sort=name")


async def test_refused_sign_in_keeps_the_address_and_says_why(browser: Browser, office: Office) -> None:
    visitor = await make_visitor(browser, office.url)
    await visitor.sign_in("somebody@test.example", password="wrong-wrong-wrong")
    await expect(visitor.page.get_by_role("alert")).to_contain_text("The e-mail or the password is not right.")
    await expect(visitor.page.get_by_label("E-mail")).to_have_value("somebody@test.example")
    await expect(visitor.page.get_by_label("Password")).to_have_value("")
    assert visitor.complaints == []


async def test_main_job_is_done_without_a_script(browser: Browser, office: Office) -> None:
    visitor = await make_visitor(browser, office.url, java_script_enabled=False)
    page = visitor.page
    await visitor.sign_in(office.analyst.email)
    await page.get_by_role("link", name="Target 54").click()
    await page.get_by_role("button", name="Make this my current deal").click()
    await expect(page.get_by_text("Current deal", exact=True)).to_be_visible()
    await visitor.open("/workspace/team")
    await page.wait_for_url(f"**/deals/{office.deals[55].id}/team")

    await visitor.open(f"/deals/{office.youtube.id}/overview")
    await page.get_by_role("button", name="Make this my current deal").click()
    await page.get_by_label("Current deal: YouTube").click()
    await page.get_by_role("button", name="Target 54").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Target 54")

    await page.get_by_label("Your menu").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/login")
    await visitor.open("/settings")
    await page.wait_for_url("**/login?next=%2Fsettings")


async def test_notice_of_a_return_can_be_dismissed_and_undone(browser: Browser, office: Office, analyst: Visitor) -> None:
    await analyst.open(f"/deals/{office.youtube.id}/overview")
    await expect(analyst.page.get_by_text("Current deal", exact=True)).to_be_visible()
    for script in (True, False):
        visitor = await make_visitor(browser, office.url, java_script_enabled=script)
        await visitor.sign_in(office.analyst.email)
        await visitor.page.get_by_label("Dismiss this notice").click()
        await expect(visitor.page.get_by_text("Back in")).to_have_count(0)
        await visitor.open("/deals")
        await expect(visitor.page.get_by_text("Back in")).to_have_count(0)
    again = await make_visitor(browser, office.url)
    await again.sign_in(office.analyst.email)
    await again.page.get_by_role("button", name="Undo").click()
    await expect(again.page.get_by_role("status")).to_contain_text("You are out of that deal here.")
    await again.open("/workspace")
    await expect(again.page.get_by_role("heading", level=1)).to_have_text("Choose a deal to work on")
    await again.page.get_by_role("button", name="YouTube").click()
    await expect(again.page.get_by_role("heading", level=1)).to_have_text("YouTube")


async def test_deal_taken_away_gives_one_page_with_the_others(office: Office, analyst: Visitor, database: Database) -> None:
    await analyst.open(f"/deals/{office.youtube.id}/overview")
    async with database.write() as db:
        await db.execute(delete(Member).where(Member.deal_id == office.youtube.id))
    assert await analyst.open(f"/deals/{office.youtube.id}/team") == 404
    page = analyst.page
    await expect(page.get_by_role("heading", level=1)).to_have_text("This deal is no longer available to you")
    body = await page.inner_text("main")
    assert "delete" not in body.lower()
    assert "revoke" not in body.lower()
    await expect(page.locator(".deal-list button")).to_have_count(5)
    # Where that one was left, not on the page that was asked for of the other.
    await page.locator(".deal-list button").first.click()
    await page.wait_for_url("**/overview")


async def test_list_says_its_state_in_the_address(office: Office, analyst: Visitor) -> None:
    page = analyst.page
    await expect(page.locator(".count")).to_have_text("56 deals")
    await page.get_by_role("link", name="Next page").click()
    await expect(page.locator("tbody tr")).to_have_count(6)
    await expect(page.get_by_role("navigation", name="Pages of the list")).to_contain_text("51–56 of 56")
    await page.get_by_role("link", name="Previous page").click()
    await expect(page.get_by_role("navigation", name="Pages of the list")).to_contain_text("1–50 of 56")
    await page.get_by_role("link", name="Deal", exact=True).click()
    await expect(page.get_by_role("columnheader", name="Deal")).to_have_attribute("aria-sort", "ascending")
    await page.get_by_text("Stage: any").click()
    await page.get_by_role("link", name="Closed").click()
    await page.wait_for_url("**/deals?stage=closed&sort=name")
    await expect(page.get_by_role("row")).to_have_count(2)
    await expect(page.get_by_role("row").last).to_contain_text("$1.6B")
    search = page.get_by_label("Search by name, acquirer or what it does")
    await search.fill("zebra")
    await search.press("Enter")
    await expect(page.get_by_text("No deal matches")).to_be_visible()
    await page.get_by_role("link", name="Clear filters").click()
    await page.wait_for_url("**/deals?all")


async def test_row_is_one_target(office: Office, analyst: Visitor) -> None:
    # Forced, since the link is meant to lie over its row.
    await analyst.page.get_by_role("row", name="YouTube").get_by_role("cell").nth(4).click(force=True)
    await analyst.page.wait_for_url(f"**/deals/{office.youtube.id}/overview")


async def test_overview_shows_every_imported_fact(office: Office, analyst: Visitor) -> None:
    await analyst.open(f"/deals/{office.youtube.id}/overview")
    text = await analyst.page.inner_text("main")
    for fact in ("$1,650,000,000", "9 Oct 2006", "Complete", "Stock", "Closed", "Google", "Video", "Games", "2005", "viewer"):
        assert fact in text
    assert "San Bruno, California, United States" in text
    for name in ("youtube.com", "crunchbase.com", "Google has acquired YouTube"):
        link = analyst.page.get_by_role("link", name=name)
        await expect(link).to_have_attribute("rel", "noopener noreferrer")


async def test_settings_are_kept_and_change_the_theme_at_once(office: Office, analyst: Visitor) -> None:
    page = analyst.page
    await analyst.open("/settings")
    await page.get_by_label("Remember my last deal").uncheck()
    await page.locator("#main").get_by_text("Dark").click()
    await page.get_by_label("The list of deals").check()
    await page.get_by_role("button", name="Save settings").click()
    await expect(page.get_by_role("status")).to_have_text("Your settings are saved.")
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    await expect(page.get_by_label("Remember my last deal")).not_to_be_checked()
    await expect(page.get_by_label("The list of deals")).to_be_checked()
    assert await page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(17, 17, 19)"


async def test_markup_in_a_name_is_shown_as_text(office: Office, analyst: Visitor, database: Database) -> None:
    name = "<script>alert(1)</script>{{7*7}}"
    async with database.write() as db:
        await db.execute(update(Deal).where(Deal.id == office.youtube.id).values(name=name, homepage="javascript:alert(1)"))
    await analyst.open(f"/deals/{office.youtube.id}/overview")
    await expect(analyst.page).to_have_title(f"{name} · Overview · Holdfast")
    assert await analyst.page.locator("a[href^='javascript']").count() == 0
    await analyst.page.get_by_label("Switch deal").click()
    await expect(analyst.page.get_by_role("option").first).to_contain_text(name)
    assert analyst.complaints == []


async def test_every_page_is_accessible_fits_and_is_silent(browser: Browser, office: Office) -> None:
    visitor = await make_visitor(browser, office.url, reduced_motion="reduce")
    await visitor.open("/login")
    found = {"login": await visitor.look()}
    await visitor.sign_in("somebody@test.example", password="wrong-wrong-wrong")
    await expect(visitor.page.get_by_role("alert")).to_be_visible()
    found["login, refused"] = await visitor.look()
    await visitor.open("/link?token=unknown")
    found["link, spent"] = await visitor.look()
    await visitor.sign_in(office.nobody.email)
    await visitor.page.wait_for_url("**/deals")
    await expect(visitor.page.locator(".tools")).to_have_count(0)
    found["empty list"] = await visitor.look()
    for name in ("board", "bin"):
        await visitor.open(f"/deals/{name}")
        found[f"empty {name}"] = await visitor.look()
    await visitor.open("/workspace")
    found["nothing to choose"] = await visitor.look()
    await visitor.lose_login()
    await visitor.sign_in(office.analyst.email)
    await visitor.page.wait_for_url("**/deals")
    for name, address in addresses(office).items():
        await visitor.open(address)
        found[name] = await visitor.look()
    await visitor.open("/deals")
    await visitor.page.locator("[data-switcher] summary").click()
    await expect(visitor.page.get_by_role("option").first).to_be_visible()
    found["switcher"] = await visitor.look()
    assert not {name: problems for name, problems in found.items() if problems}
    assert visitor.complaints == []


async def test_deal_page_is_light_on_a_cold_cache(browser: Browser, office: Office, analyst: Visitor, database: Database) -> None:
    """Everything that comes over the wire for it, headers and all, in a browser that has nothing yet; with as many recents as are shown."""
    async with database.write() as db:
        now = datetime.now(UTC)
        db.add_all(Visit(user_id=office.analyst.id, deal_id=deal.id, visited_at=now) for deal in office.deals[1:11])
    cold = await make_visitor(browser, office.url)
    await cold.context.add_cookies(await analyst.context.cookies())  # type: ignore[arg-type]
    wire = await cold.context.new_cdp_session(cold.page)
    await wire.send("Network.enable")
    sizes: list[float] = []
    wire.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    await cold.open(f"/deals/{office.youtube.id}/overview")
    await cold.page.wait_for_load_state("networkidle")
    assert len(sizes) >= 10
    assert sum(sizes) <= MAX_BYTES


async def test_back_button_after_signing_out_shows_no_deal(office: Office, analyst: Visitor) -> None:
    page = analyst.page
    await analyst.open(f"/deals/{office.youtube.id}/overview")
    await page.get_by_label("Your menu").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/login")
    await page.go_back()
    await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
