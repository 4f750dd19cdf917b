"""Working inside a deal in a real browser: drafts, roles, two tabs, with and without a script."""

from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from app.core.database import Database
from app.models import Deal, User
from tests.browser.visitor import BROWSER_TESTS, PHONE, Visitor, make_visitor, on_the_loop
from tests.conftest import StartWeb
from tests.factories import make_deal, make_member, make_organisation, make_user, make_work

pytestmark = [*BROWSER_TESTS, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]


@dataclass
class Office:
    """A lead who owns two deals, an editor and a viewer of both. The first has one finding and one item on its checklist."""

    url: str
    lead: User
    editor: User
    viewer: User
    deal: Deal
    other: Deal

    def path(self, page: str, deal: Deal | None = None) -> str:
        return f"/deals/{(deal or self.deal).id}/{page}"


@on_the_loop
async def office(database: Database, start_web: StartWeb) -> Office:
    organisation = await make_organisation(database, name="Google")
    lead, editor, viewer = [await make_user(database, organisation, name=name) for name in ("Lead", "Editor", "Viewer")]
    deals = [await make_deal(database, organisation, owner=lead, name=name, stage="diligence") for name in ("YouTube", "Skype")]
    for deal in deals:
        for person, role in ((editor, "editor"), (viewer, "viewer")):
            await make_member(database, deal, person, role=role)
    await make_work(database, deals[0])
    return Office((await start_web()).url, lead, editor, viewer, *deals)


async def arrive(browser: Browser, office: Office, person: User, **options: Any) -> Visitor:
    visitor = await make_visitor(browser, office.url, reduced_motion="reduce", **options)
    await visitor.sign_in(person.email)
    await visitor.page.wait_for_url(lambda url: "/login" not in url)
    return visitor


async def api(visitor: Visitor, method: str, path: str, **data: Any) -> Any:
    answer = await visitor.context.request.fetch(visitor.url + path, method=method, data=data or None)
    assert answer.ok, await answer.text()
    return await answer.json()


async def test_a_draft_survives_the_login_and_is_its_writers_alone(browser: Browser, office: Office) -> None:
    writer = await arrive(browser, office, office.editor)
    page, form = writer.page, office.path("findings/new")

    async def kept() -> list[str]:
        found: list[str] = await page.evaluate("Object.keys(localStorage).filter((key) => key.includes('draft'))")
        return found

    await writer.open(form)
    await page.get_by_label("Title").fill("Written all morning")
    await page.get_by_label("Text").fill("A long text")
    await expect(page.get_by_text("Saved as a draft")).to_be_visible()

    # The login is lost before it is sent: the text is on the page that asks to sign in, and it is sent from there.
    await writer.lose_login()
    await page.get_by_role("button", name="Create finding").click()
    await expect(page.get_by_role("status")).to_contain_text("Nothing is lost")
    await expect(page.get_by_text("Written all morning")).to_be_visible()
    assert await writer.axe() == []
    # Or the tab dies there; signed in again the form has it back.
    await writer.open(form)
    await writer.sign_in(office.editor.email)
    await page.wait_for_url(f"**{form}")
    await expect(page.get_by_text("Draft restored")).to_be_visible()
    await expect(page.get_by_label("Text")).to_have_value("A long text")
    await page.reload()
    await expect(page.get_by_label("Title")).to_have_value("Written all morning")
    # Not on another deal's form, and gone once it is saved.
    await writer.open(office.path("findings/new", office.other))
    await expect(page.get_by_label("Title")).to_have_value("")
    await writer.open(form)
    await page.get_by_role("button", name="Create finding").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Written all morning")
    assert await kept() == []
    await writer.open(form)
    await expect(page.get_by_label("Title")).to_have_value("")

    # Somebody else on the same browser sees nothing of it, and signing out leaves nothing.
    await page.get_by_label("Title").fill("Not for others")
    await expect(page.get_by_text("Saved as a draft")).to_be_visible()
    await writer.lose_login()
    await writer.open(form)
    await writer.sign_in(office.lead.email)
    await page.wait_for_url(f"**{form}")
    await expect(page.get_by_label("Title")).to_have_value("")
    assert await kept() == []
    await page.get_by_label("Title").fill("Until I leave")
    await expect(page.get_by_text("Saved as a draft")).to_be_visible()
    await page.get_by_label("Your menu").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/login")
    assert await kept() == []
    assert writer.complaints == []


async def test_two_tabs_write_each_in_their_own_deal(browser: Browser, office: Office) -> None:
    first = await arrive(browser, office, office.editor)
    second = Visitor(first.context, await first.context.new_page(), office.url)
    for tab, deal in ((first, office.deal), (second, office.other)):
        await tab.open(office.path("findings/new", deal))
        await tab.page.get_by_label("Title").fill(f"About {deal.name}")
    # By now the session is on the second deal; the first tab stays where it is.
    for tab, deal in ((first, office.deal), (second, office.other)):
        await tab.page.bring_to_front()
        await tab.page.get_by_role("button", name="Create finding").click()
        await expect(tab.page.get_by_role("heading", level=1)).to_contain_text(f"About {deal.name}")
        assert office.path("findings", deal) in tab.page.url
    # A form that got the deal of the other tab is asked about, not saved.
    await first.open(office.path("findings/new"))
    await first.page.get_by_label("Title").fill("Whose is it?")
    await first.page.evaluate(f"document.querySelector('[data-draft] [name=deal]').value = {office.other.id}")
    await first.page.get_by_role("button", name="Create finding").click()
    await expect(first.page.get_by_role("heading", level=1)).to_have_text("Which deal is this for?")
    assert await first.axe() == []
    await first.page.get_by_role("button", name="Save it in Skype").click()
    await first.page.wait_for_url(f"**{office.path('findings', office.other)}/**")
    titles = {
        deal.name: [each["title"] for each in (await api(first, "GET", f"/api{office.path('findings', deal)}"))["findings"]]
        for deal in (office.deal, office.other)
    }
    assert "About YouTube" in titles["YouTube"]
    assert sorted(titles["Skype"]) == ["About Skype", "Whose is it?"]
    assert first.complaints == second.complaints == []


async def test_tabs_that_begin_the_same_thing_keep_a_draft_each(browser: Browser, office: Office) -> None:
    first = await arrive(browser, office, office.editor)
    titles = ("One", "Two")

    async def tab() -> Page:
        page = await first.context.new_page()
        await page.goto(office.url + office.path("findings/new"))
        return page

    async def shows(page: Page, title: str) -> None:
        await expect(page.get_by_label("Title")).to_have_value(title)
        await expect(page.get_by_text("Draft restored")).to_have_count(1 if title else 0)

    pages = [await tab(), await tab()]
    for page, title in zip(pages, titles, strict=True):
        await page.get_by_label("Title").fill(title)
        await expect(page.get_by_text("Saved as a draft")).to_be_visible()
    for page, title in zip(pages, titles, strict=True):
        await page.reload()
        await shows(page, title)
    # A copy of the first tab, as "Duplicate" makes it, begins with the same text and goes on by itself.
    mine = await pages[0].evaluate("sessionStorage['holdfast:tab']")
    copy = await first.context.new_page()
    await copy.goto(f"{office.url}/static/vendor/lucide.svg")
    await copy.evaluate("id => sessionStorage.setItem('holdfast:tab', id)", mine)
    await copy.goto(office.url + office.path("findings/new"))
    await shows(copy, "One")
    await copy.wait_for_function("id => sessionStorage['holdfast:tab'] !== id", arg=mine)
    await copy.get_by_label("Title").fill("One, anew")
    await expect(copy.get_by_text("Saved as a draft")).to_be_visible()
    await pages[0].reload()
    await shows(pages[0], "One")
    await copy.get_by_role("button", name="Discard").click()
    # What lives is not offered to another tab; what died is, the latest first, and none of it twice.
    third = await tab()
    await third.wait_for_timeout(300)
    await shows(third, "")
    for page in (*pages, third):
        await page.close()
    for title in (*titles[::-1], ""):
        page = await tab()
        if not title:
            await page.wait_for_timeout(300)
        await shows(page, title)
    assert first.complaints == []


async def test_the_work_is_done_without_a_script(browser: Browser, office: Office) -> None:
    visitor = await arrive(browser, office, office.lead, java_script_enabled=False)
    page = visitor.page
    await visitor.open(office.path("findings"))
    await page.get_by_role("link", name="New finding").click()
    await page.get_by_label("Title").fill("By hand")
    await page.get_by_label("Severity").select_option("high")
    await page.get_by_label("Text").fill("**Bold** and <script>alert(1)</script>")
    await page.get_by_role("button", name="Create finding").click()
    await expect(page.locator(".prose strong")).to_have_text("Bold")
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("button", name="Undo").click()
    await expect(page.get_by_text("The finding is back.")).to_be_visible()
    await page.get_by_role("link", name="All findings").click()
    await page.get_by_label("Tick finding 2, By hand").check()
    await page.get_by_label("Status", exact=True).select_option("resolved")
    await page.get_by_role("button", name="Change", exact=True).click()
    await expect(page.get_by_role("row", name="By hand")).to_contain_text("Resolved")

    await page.get_by_role("link", name="Checklist").click()
    await page.get_by_text("Add a standard list").click()
    await page.get_by_role("button", name="Tax 15 items").click()
    await expect(page.get_by_text("15 items are on the list.")).to_be_visible()
    box = page.get_by_role("checkbox", name="Structure paper and step plan")
    await box.click()
    await expect(box).to_be_checked()
    await page.get_by_role("button", name="Add item").click()
    await expect(page.get_by_role("alert")).to_contain_text("2 fields need another look")
    # Enter twice goes two steps: the button pressed has the focus again.
    await page.get_by_role("link", name="Change the order").click()
    items = page.get_by_role("region", name="Tax: compliance").locator(".todo-title")
    title = "Tax audits concluded and under way, with findings"
    step = page.get_by_role("button", name=f"Move up: {title}")
    await step.focus()
    for place in (2, 1):
        await page.keyboard.press("Enter")
        await expect(items.nth(place)).to_have_text(title)
        await expect(step).to_be_focused()
    await page.get_by_role("link", name="Done").click()
    await expect(items.nth(1)).to_have_text(title)

    await page.get_by_role("link", name="Overview").click()
    await page.get_by_role("link", name="Edit", exact=True).click()
    await page.get_by_label("City").fill("San Bruno")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("San Bruno")).to_be_visible()
    await page.get_by_role("link", name="Team", exact=True).click()
    await page.get_by_label("E-mail of a colleague").fill("unknown@test.example")
    await page.get_by_role("button", name="Add to the team").click()
    await expect(page.get_by_label("E-mail of a colleague")).to_have_value("unknown@test.example")
    await page.get_by_role("link", name="Activity").click()
    await expect(page.get_by_role("listitem").filter(has_text="You changed this deal: city")).to_be_visible()
    assert visitor.complaints == []


async def test_the_end_of_a_login_is_told_before_it_comes(browser: Browser, office: Office) -> None:
    visitor = await arrive(browser, office, office.editor)
    page = visitor.page
    await page.clock.install()
    await visitor.open(office.path("findings/new"))
    box = page.locator("[data-timeout]")
    await expect(box).to_be_hidden()
    await page.clock.fast_forward("23:56:00")
    await expect(box).to_contain_text("Are you still there?")
    assert await visitor.axe() == []
    async with page.expect_response("**/api/auth/stay") as stayed:
        await page.get_by_role("button", name="Stay signed in").click()
    assert (await stayed.value).ok
    await expect(box).to_be_hidden()
    await page.clock.fast_forward("24:01:00")
    await expect(box.get_by_role("link", name="Sign in")).to_be_visible()
    assert visitor.complaints == []


async def test_every_state_of_the_work_is_accessible_fits_and_is_silent(browser: Browser, office: Office) -> None:
    visitor = await arrive(browser, office, office.lead)
    text = "# One\n\n### Three\n\n- a\n\n|a|b|\n|--|--:|\n|1|2|\n\n`code` [link](https://a.example)"
    finding = (await api(visitor, "POST", f"/api{office.path('findings')}", title="T" * 120, text=text, severity="critical"))["finding"]
    await api(visitor, "POST", f"/api{office.path('checklist')}", title="Overdue", section="Tax", due_on="2020-01-01")
    pages = {
        "findings": office.path("findings"),
        "no findings": office.path("findings", office.other),
        "no match": office.path("findings?q=zebra"),
        "finding": office.path(f"findings/{finding['id']}"),
        "finding form": office.path(f"findings/{finding['id']}/edit"),
        "new finding": office.path("findings/new"),
        "missing": office.path("findings/999"),
        "checklist": office.path("checklist"),
        "no checklist": office.path("checklist", office.other),
        "item": office.path("checklist/1"),
        "item form": office.path("checklist/1/edit"),
        "order": office.path("checklist/order"),
        "edit": office.path("edit"),
        "team": office.path("team"),
        "access": office.path(f"team/{office.viewer.id}"),
        "no activity": office.path("activity?kind=people"),
    }
    found = {}
    for name, address in pages.items():
        await visitor.open(address)
        found[name] = await visitor.look()
    await visitor.open(office.path("findings/new"))
    await visitor.page.get_by_role("button", name="Create finding").click()
    await expect(visitor.page.get_by_role("alert")).to_contain_text("1 field needs another look")
    await expect(visitor.page.get_by_label("Title")).to_be_focused()
    found["refused"] = await visitor.look()
    await visitor.open(office.path("checklist"))
    await visitor.page.set_viewport_size(PHONE)
    await visitor.page.get_by_text("Add a standard list").click()
    menu = await visitor.page.locator(".templates-menu").bounding_box()
    assert menu
    assert menu["x"] >= 0
    for name in ("findings", "checklist", "activity"):
        await visitor.open(office.path(f"{name}?all"))
        await visitor.page.get_by_text("Export", exact=True).click()
        panel = await visitor.page.locator(".menu[open] .panel").bounding_box()
        button = await visitor.page.locator(".menu[open] summary").bounding_box()
        assert panel
        assert button
        assert panel["x"] >= 0
        assert panel["x"] + panel["width"] <= PHONE["width"]
        assert 0 <= panel["y"] - button["y"] - button["height"] < 16, f"{name}: it hangs at its button"
    await visitor.lose_login()
    await visitor.sign_in(office.viewer.email)
    for name in ("findings", "checklist", "team", "edit"):
        await visitor.open(office.path(name))
        found[f"viewer, {name}"] = await visitor.look()
    assert not {name: problems for name, problems in found.items() if problems}
    assert visitor.complaints == []
