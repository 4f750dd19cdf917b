"""The place inside a deal in a real browser: kept as a person moves, back to the row in another one."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Response, expect
from sqlalchemy import insert

from app.core.database import Database
from app.models import ChecklistItem, Deal, Finding, User
from tests.browser.visitor import BROWSER_TESTS, PHONE, Visitor, first_row, make_visitor, on_the_loop, scroll_to
from tests.conftest import StartWeb
from tests.factories import make_deal, make_member, make_organisation, make_user
from tests.waiting import until

pytestmark = [*BROWSER_TESTS, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

FINDINGS = 60
HIGH = "severity=high&sort=-title"


@dataclass
class Office:
    """An editor of a deal with sixty findings, the even ones of high severity, and of another one with none."""

    url: str
    lead: User
    editor: User
    deal: Deal
    other: Deal

    def path(self, page: str = "") -> str:
        return f"/deals/{self.deal.id}" + (f"/{page}" if page else "")


@on_the_loop
async def office(database: Database, start_web: StartWeb) -> Office:
    organisation = await make_organisation(database)
    lead, editor = await make_user(database, organisation, name="Lead"), await make_user(database, organisation, name="Editor")
    deals = [await make_deal(database, organisation, owner=lead, name=name) for name in ("Mojang", "Skype")]
    for deal in deals:
        await make_member(database, deal, editor, role="editor")
    at = datetime.now(UTC) - timedelta(days=1)
    facts = {"deal_id": deals[0].id, "created_at": at, "updated_at": at}
    severities = ("low", "high")
    async with database.write() as db:
        rows = [
            {"number": n, "title": f"Finding {n:02}", "text": "Text", "severity": severities[n % 2 == 0]} | facts
            for n in range(1, FINDINGS + 1)
        ]
        await db.execute(insert(Finding), rows)
        items = [{"section": "Tax", "title": f"Item {n}", "position": n} | facts for n in range(1, 41)]
        await db.execute(insert(ChecklistItem), items)
    return Office((await start_web()).url, lead, editor, *deals)


async def arrive(browser: Browser, office: Office, person: User, **options: Any) -> Visitor:
    visitor = await make_visitor(browser, office.url, **{"reduced_motion": "reduce"} | options)
    await visitor.sign_in(person.email)
    await visitor.page.wait_for_url(lambda url: "/login" not in url)
    return visitor


def _sent(answer: Response) -> str:
    return "".join((answer.request.post_data or "").split())


async def comes_to(page: Page, row: str) -> None:
    async def is_there() -> bool:
        return await first_row(page) == row

    await until(is_there, within=10)


async def test_findings_come_back_to_the_row_on_another_device(browser: Browser, office: Office, database: Database) -> None:
    desk = await arrive(browser, office, office.editor)
    page = desk.page
    await desk.open(office.path(f"findings?{HIGH}"))
    await scroll_to(page, "Finding 40")
    async with page.expect_response(lambda answer: answer.url.endswith("/api/place") and '"item_id":null' not in _sent(answer)):
        await page.get_by_role("link", name="Finding 30").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Finding 30")

    # Another device, without a place of its own: the item, and from it the list, down to the row.
    phone = await arrive(browser, office, office.editor, viewport=PHONE)
    await expect(phone.page.get_by_role("heading", level=1)).to_contain_text("Finding 30")
    await phone.page.get_by_role("link", name="All findings").click()
    await expect(phone.page).to_have_url(f"{office.url}{office.path('findings')}?{HIGH}")
    assert await first_row(phone.page) == "Finding 40"
    await expect(phone.page.locator(".row-back")).to_contain_text("Finding 40")
    await expect(phone.page.get_by_text("Severity: high", exact=True)).to_be_visible()
    assert await phone.page.evaluate("document.activeElement === document.body"), "nobody had the cursor anywhere"
    await expect(phone.page.locator(".row-back")).to_have_count(0)

    # The row is deleted: the one after it.
    async with database.write() as db:
        await db.execute(Finding.__table__.update().where(Finding.number == 40).values(deleted_at=datetime.now(UTC)))  # type: ignore[attr-defined]
    await phone.lose_login()
    await phone.page.evaluate("sessionStorage.clear()")
    await phone.sign_in(office.editor.email)
    await expect(phone.page).to_have_url(f"{office.url}{office.path('findings')}?{HIGH}")
    row = await first_row(phone.page)
    assert row in ("Finding 38", "Finding 36")
    # Back to it, although what was said above it is not said again.
    said = phone.page.get_by_role("status").filter(has_text="Back in Mojang")
    await expect(said).to_be_visible()
    await phone.page.get_by_role("link", name=row).click()
    await expect(phone.page.get_by_role("heading", level=1)).to_contain_text(row)
    async with phone.page.expect_response(lambda answer: answer.url.endswith("/api/place") and '"item_id":null' in _sent(answer)):
        await phone.page.go_back()
    await expect(said).to_have_count(0)
    await comes_to(phone.page, row)

    # Without a script: what was left, but for the row.
    plain = await arrive(browser, office, office.editor, java_script_enabled=False)
    await expect(plain.page.get_by_text("Severity: high", exact=True)).to_be_visible()
    await plain.page.get_by_role("link", name="Clear filters").click()
    await expect(plain.page.get_by_text("Severity: any")).to_be_visible()
    assert desk.complaints == phone.complaints == plain.complaints == []


async def test_two_tabs_keep_theirs_apart_and_a_form_has_its_cursor_back(browser: Browser, office: Office) -> None:
    desk = await arrive(browser, office, office.editor)
    one, two = desk.page, await desk.context.new_page()
    await one.goto(f"{office.url}{office.path('findings')}?{HIGH}")
    await scroll_to(one, "Finding 40")
    await two.goto(f"{office.url}{office.path('findings')}?severity=low")
    await scroll_to(two, "Finding 45")
    for tab, query, row in ((one, HIGH, "Finding 40"), (two, "severity=low", "Finding 45")):
        await tab.bring_to_front()
        await tab.get_by_role("link", name="Checklist", exact=True).click()
        await expect(tab.get_by_role("heading", level=1)).to_have_text("Checklist")
        await tab.get_by_role("navigation").get_by_role("link", name="Findings").click()
        await tab.wait_for_url(f"**/findings?{query}")
        assert await first_row(tab) == row
        # Back and forward are the browser's.
        await tab.go_back()
        await tab.go_back()
        await tab.wait_for_url(f"**/findings?{query}")
        await tab.wait_for_function("scrollY > 0")
        assert await first_row(tab) == row

    # After an outage this entry of the history knows nothing, and the browser has scrolled by what stood there.
    await two.evaluate("() => { history.replaceState(null, ''); document.querySelector('main').style.paddingTop = '300px'; }")
    await scroll_to(two, "Finding 49")
    await two.reload()
    await comes_to(two, "Finding 49")

    # Back to the whole list, although it is the filtered one that was seen last.
    await one.bring_to_front()
    await one.get_by_role("link", name="Clear filters").click()
    for name in ("Checklist", "Findings"):
        await one.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        await expect(one.get_by_role("heading", level=1)).to_have_text(name)
    await expect(one).to_have_url(office.url + office.path("findings"))
    async with one.expect_response(lambda answer: answer.url.endswith("/api/place") and "low" in _sent(answer)):
        await one.get_by_text("Severity: any").click()
        await one.get_by_role("link", name="Low", exact=True).click()
    await one.go_back()
    await expect(one.get_by_text("Severity: any")).to_be_visible()

    # A form, its field and its cursor, after signing out and in.
    await one.goto(f"{office.url}{office.path('findings/1/edit')}")
    async with one.expect_response(lambda answer: answer.url.endswith("/api/place")):
        await one.get_by_label("Text").evaluate("(field) => { field.focus(); field.setSelectionRange(1, 3); }")
    await desk.lose_login()
    await one.evaluate("sessionStorage.clear()")
    await desk.sign_in(office.editor.email)
    await expect(one).to_have_url(f"{office.url}{office.path('findings/1/edit')}")
    await expect(one.get_by_label("Text")).to_be_focused()
    assert await one.evaluate("[document.activeElement.selectionStart, document.activeElement.selectionEnd]") == [1, 3]
    assert desk.complaints == []


async def test_notices_are_said_once_and_cover_nothing(browser: Browser, office: Office) -> None:
    """Where there is least room; twice as large is half as wide."""
    visitor = await arrive(browser, office, office.editor, viewport=PHONE)
    page = visitor.page
    await visitor.open(office.path("findings?all"))
    await page.wait_for_load_state("networkidle")
    again = await arrive(browser, office, office.editor, viewport=PHONE)
    back = again.page.get_by_role("status").filter(has_text="Back in Mojang")
    await expect(back).to_be_visible()

    async def is_said() -> bool:
        answer = await again.page.request.get(f"{office.url}/api/deals/current")
        return (await answer.json())["notice"] is None

    await until(is_said, within=10)
    await again.page.get_by_role("link", name="Team").click()
    await expect(again.page.get_by_role("heading", level=1)).to_have_text("Team")
    await expect(back).to_have_count(0)

    said = page.locator("[data-switched]", has_text="Switched to Skype")
    tops = []
    for width in (360, 320):
        await page.set_viewport_size({"width": width, "height": 740})
        await visitor.open(office.path("findings?all"))
        await expect(page.locator("[data-current-chip], .bar.has-deal").first).to_be_visible()
        async with page.expect_response(lambda answer: "/select" in answer.url):
            await visitor.open(f"/deals/{office.other.id}/overview")
            tops.append(await page.get_by_role("heading", level=1).evaluate("(head) => head.getBoundingClientRect().top"))
        await expect(said).to_be_visible()
        tops.append(await page.get_by_role("heading", level=1).evaluate("(head) => head.getBoundingClientRect().top"))
        covered = await said.evaluate("""(said) => {
          const box = said.getBoundingClientRect();
          const over = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
          return over.filter((each) => each.matches("a, button, input, summary") && !said.contains(each)).length;
        }""")
        assert covered == 0
        assert not await visitor.overflows()
    assert tops[0] == tops[1], "nothing moved"
    assert await visitor.axe() == []
    await page.get_by_role("button", name="Undo").click()
    await page.wait_for_url(office.url + office.path("findings"))
    await expect(said).to_have_count(0)
    assert visitor.complaints == again.complaints == []
