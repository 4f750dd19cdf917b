"""Two people who change the same thing, each in a real browser: what merges, what is chosen, what an open form says, and the history."""

import re

import pytest
from playwright.async_api import Browser, expect

from tests.browser.test_work import Office, api, arrive, office
from tests.browser.visitor import BROWSER_TESTS, Visitor

__all__ = ["office"]
pytestmark = [*BROWSER_TESTS, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]


async def test_a_conflict_is_settled_and_a_role_is_raised_by_keyboard(browser: Browser, office: Office) -> None:
    """A viewer sees no edit; their role is raised; they edit, and somebody was faster."""
    lead, colleague = await arrive(browser, office, office.lead), await arrive(browser, office, office.viewer)
    page, list_ = colleague.page, f"/api{office.path('findings')}"
    (finding,) = (await api(lead, "GET", list_))["findings"]
    await colleague.open(office.path(f"findings/{finding['id']}"))
    await expect(page.get_by_role("link", name="Edit", exact=True)).to_have_count(0)
    await expect(page.get_by_role("button", name="Delete")).to_have_count(0)

    await lead.open(office.path("team"))
    change = lead.page.get_by_role("link", name="Change the access of Viewer")
    await change.focus()
    await lead.page.keyboard.press("Enter")
    role = lead.page.get_by_label("Role")
    await role.focus()
    await lead.page.keyboard.type("Editor")
    await expect(role).to_have_value("editor")
    await lead.page.get_by_role("button", name="Save").focus()
    await lead.page.keyboard.press("Enter")
    await expect(lead.page.get_by_role("status").filter(has_text="Saved.")).to_be_visible()

    await page.reload()
    await page.get_by_role("link", name="Edit", exact=True).focus()
    await page.keyboard.press("Enter")
    title = page.get_by_label("Title")
    await title.focus()
    await page.keyboard.press("Control+A")
    await page.keyboard.type("Mine")
    await api(lead, "PATCH", f"{list_}/{finding['id']}", title="Theirs", severity="critical")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("Lead changed this finding while you were writing")
    assert await colleague.axe() == []
    await expect(page.get_by_label("Yours: Title")).to_have_value("Mine")
    await expect(page.get_by_label("Severity")).to_have_value("critical")
    both = page.get_by_role("group", name="Title")
    await expect(both.get_by_role("radio", checked=True)).to_have_count(0)
    await expect(both.locator("mark")).to_have_text([re.compile("Theirs"), re.compile("Mine")])
    # Not to be saved before there is a choice; who goes away meanwhile finds it to be chosen again.
    await page.get_by_role("button", name="Save").click()
    await expect(both.get_by_label("Take Lead’s")).to_be_focused()
    await expect(page.get_by_text("Saved as a draft")).to_be_visible()
    await colleague.open(office.path(f"findings/{finding['id']}/edit"))
    await expect(page.get_by_text("Draft restored")).to_be_visible()
    await expect(title).to_have_value("Mine")
    await page.get_by_role("button", name="Save").click()
    await both.get_by_label("Keep mine").focus()
    await page.keyboard.press("Space")
    await page.get_by_role("button", name="Save").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Mine")
    await expect(page.get_by_label("Facts")).to_contain_text("Critical")
    assert lead.complaints == colleague.complaints == []


async def test_two_people_write_in_one_text_and_nothing_of_either_is_lost(browser: Browser, office: Office) -> None:
    """Different lines go together, and the open form says so by itself; of the same line nothing is chosen for anybody."""
    lead, editor = await arrive(browser, office, office.lead), await arrive(browser, office, office.editor)
    list_ = f"/api{office.path('findings')}"
    (finding,) = (await api(lead, "GET", list_))["findings"]
    await api(lead, "PATCH", f"{list_}/{finding['id']}", text="First\nSecond\nThird")
    form, text = office.path(f"findings/{finding['id']}/edit"), editor.page.get_by_label("Text")

    async def write(visitor: Visitor, before: str, after: str) -> None:
        box = visitor.page.get_by_label("Text")
        await box.fill((await box.input_value()).replace(before, after))

    async def save(visitor: Visitor) -> None:
        await visitor.page.get_by_role("button", name="Save").click()

    async def saved(visitor: Visitor, words: str) -> None:
        await save(visitor)
        await expect(visitor.page.locator(".prose")).to_contain_text(words)

    await editor.open(form)
    await lead.open(form)
    await write(editor, "Third", "My third")
    await expect(editor.page.get_by_text("Saved as a draft")).to_be_visible()
    await write(lead, "First", "Their first")
    before = await editor.page.evaluate("[document.activeElement.name, document.activeElement.getBoundingClientRect().top, scrollY]")
    await saved(lead, "Their first")
    told = editor.page.get_by_label("Messages").get_by_text("Lead saved this")
    await expect(told).to_be_visible(timeout=20_000)
    after = await editor.page.evaluate("[document.activeElement.name, document.activeElement.getBoundingClientRect().top, scrollY]")
    assert before == after, "nothing moves under the hands of who writes"
    await expect(text).to_have_value("First\nSecond\nMy third")
    await editor.page.get_by_role("button", name="Show what changed").click()
    await expect(editor.page.get_by_role("alert")).to_contain_text("Lead changed this finding")
    await expect(editor.page.locator(".merged ins")).to_contain_text("Their")
    await expect(text).to_have_value("Their first\nSecond\nMy third")
    assert await editor.axe() == []
    await saved(editor, "My third")
    assert (await api(lead, "GET", f"{list_}/{finding['id']}"))["finding"]["text"] == "Their first\nSecond\nMy third"

    await editor.open(form)
    await lead.open(form)
    await write(editor, "Second", "My second")
    await write(lead, "Second", "Their second")
    await saved(lead, "Their second")
    await expect(told).to_be_visible(timeout=20_000)
    await save(editor)
    both = editor.page.get_by_role("group", name="Text")
    await expect(both.locator("mark")).to_have_text([re.compile("Their"), re.compile("My")])
    await expect(both.get_by_role("radio", checked=True)).to_have_count(0)
    # An edit is a choice.
    await write(editor, "My second", "Our second")
    await expect(both.get_by_label("Keep mine")).to_be_checked()
    await saved(editor, "Our second")
    # What was there is brought back from the history, and that is undone.
    await editor.page.get_by_role("link", name="What it said before").click()
    await editor.page.get_by_role("button", name="Bring this back").first.click()
    await expect(editor.page.locator(".prose")).to_contain_text("Their second")
    await editor.page.get_by_role("button", name="Undo").click()
    await expect(editor.page.locator(".prose")).to_contain_text("Our second")
    assert lead.complaints == editor.complaints == []
