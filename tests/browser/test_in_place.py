"""Small changes where they stand, in a real browser: at once, undone, refused, and by keys."""

import pytest
from playwright.async_api import Browser, expect

from tests.browser.test_work import Office, api, arrive, office
from tests.browser.visitor import BROWSER_TESTS

__all__ = ["office"]

pytestmark = [*BROWSER_TESTS, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]


async def test_a_tick_stays_where_it_is_or_goes_back_with_the_reason(browser: Browser, office: Office) -> None:
    lead, editor = await arrive(browser, office, office.lead), await arrive(browser, office, office.editor)
    page, list_ = lead.page, f"/api{office.path('checklist')}"
    for title in ("Ledgers", "Leases"):
        await api(lead, "POST", list_, title=title, section="Tax", due_on="2020-01-02")
    await lead.open(office.path("checklist"))
    await page.evaluate("window.stayed = true")
    box, said = page.get_by_role("checkbox", name="Ledgers"), page.get_by_role("region", name="Messages")
    row = page.get_by_role("listitem").filter(has=box)

    await box.focus()
    await page.keyboard.press("Space")
    await expect(said).to_contain_text("Done: Ledgers")
    await expect(box).to_be_checked()
    await expect(box).to_be_focused()
    await expect(row).to_contain_text("done just now")
    await expect(page.get_by_text("1 of 3 done")).to_be_visible()
    await expect(page.get_by_role("heading", name="Tax")).to_contain_text("1 of 3")
    await said.get_by_role("button", name="Undo").click()
    await expect(box).not_to_be_checked()
    await expect(box).to_be_focused()
    await expect(row).to_contain_text("overdue, 2 Jan 2020")
    await expect(page.get_by_text("Not done: Ledgers")).to_be_attached()

    # Twice in a row is what was asked for last. What somebody else changed of it meanwhile stays, but other words are read first.
    item = (await api(lead, "GET", list_))["items"][1]
    await api(editor, "PATCH", f"{list_}/{item['id']}", due_on="2020-01-03")
    await box.click()
    await box.click()
    await expect(said).to_contain_text("Not done: Ledgers")
    await expect(box).not_to_be_checked()
    assert (await api(lead, "GET", f"{list_}/{item['id']}"))["item"]["due_on"] == "2020-01-03"
    await api(editor, "PATCH", f"{list_}/{item['id']}", title="Ledgers of 2019")
    await box.click()
    await expect(said).to_contain_text("Editor changed “Ledgers of 2019” meanwhile")
    await expect(box).not_to_be_checked()
    assert await lead.axe() == []

    # No answer, and no access any more: it is as it was, with the reason.
    await lead.context.set_offline(True)
    await box.click()
    await expect(said).to_contain_text("“Ledgers of 2019” is not changed. You are offline")
    await expect(box).not_to_be_checked()
    await lead.context.set_offline(False)
    await editor.open(office.path("checklist"))
    await api(lead, "PATCH", f"/api{office.path('members')}/{office.editor.id}", role="viewer")
    theirs = editor.page.get_by_role("checkbox", name="Leases")
    await theirs.click()
    await expect(editor.page.get_by_role("region", name="Messages")).to_contain_text("“Leases” is not changed. You can read this deal")
    await expect(theirs).not_to_be_checked()
    await expect(editor.page.get_by_text("0 of 3 done")).to_be_visible()
    assert await page.evaluate("window.stayed")


async def test_lists_and_items_are_worked_by_keys(browser: Browser, office: Office) -> None:
    lead = await arrive(browser, office, office.lead)
    page, press = lead.page, lead.page.keyboard.press
    for number in range(2, 26):
        await api(lead, "POST", f"/api{office.path('findings')}", title=f"Finding number {number}", severity="low")
    await lead.open(office.path("findings?sort=-number"))
    for key in "jjjkx":
        await press(key)
    await expect(page.get_by_role("link", name="Finding number 2", exact=True)).to_be_focused()
    await expect(page.get_by_text("1 selected")).to_be_visible()
    await expect(page.get_by_label("Tick finding 2,")).to_be_checked()
    for _ in range(22):
        await press("j")
    await expect(page.get_by_role("link", name="Finding number 24")).to_be_in_viewport()
    await press("e")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Edit finding #24")
    title = page.get_by_label("Title")
    await title.fill("xjce")
    await title.press("j")
    await page.keyboard.press("Control+Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("#24 xjcej")
    await press("j")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("#25")
    await expect(page.get_by_role("link", name="Next finding")).to_have_count(0)
    await press("k")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("#24")
    assert await lead.axe() == []
    await press("c")
    await expect(page.get_by_role("heading", level=1)).to_have_text("New finding")

    await lead.open(office.path("checklist"))
    for key in "jx":
        await press(key)
    await expect(page.get_by_role("region", name="Messages")).to_contain_text("Done: ")
    await press("c")
    await expect(page.get_by_label("What", exact=True)).to_be_focused()
    await page.keyboard.type("ck")
    await expect(page.get_by_label("What", exact=True)).to_have_value("ck")
    await page.get_by_label("What", exact=True).blur()
    await press("?")
    await expect(page.get_by_role("dialog", name="Keyboard")).to_contain_text("Save the form")
    assert await lead.axe() == []
    assert lead.complaints == []


async def test_facts_are_changed_where_they_stand(browser: Browser, office: Office) -> None:
    lead = await arrive(browser, office, office.lead)
    page, said = lead.page, lead.page.get_by_role("region", name="Messages")
    await lead.open(office.path("findings"))
    await page.evaluate("window.stayed = true")
    row = page.get_by_role("row").nth(1)

    await row.get_by_role("button", name="Status: Open").click()
    await row.get_by_label("Status").select_option("Resolved")
    await expect(said).to_contain_text("Status of “")
    await expect(row.get_by_role("button", name="Status: Resolved")).to_be_focused()
    await row.get_by_role("button", name="Owner: ").focus()
    await page.keyboard.press("Enter")
    await expect(row.get_by_label("Owner")).to_be_focused()
    await page.keyboard.type("Editor")
    await page.keyboard.press("Enter")
    await expect(said).to_contain_text("Owner of “")
    await expect(row.get_by_role("button", name="Owner: Editor")).to_be_focused()
    await said.get_by_role("button", name="Undo").click()
    await expect(row.get_by_role("button", name="Owner: nobody yet")).to_be_focused()
    await expect(page.get_by_text("Owner of “")).to_be_attached()
    # The row that is ticked is at the version it has now.
    await row.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Change", exact=True).focus()
    assert await page.evaluate("window.stayed")
    await page.get_by_label("Severity", exact=True).select_option("low")
    await page.get_by_role("button", name="Change", exact=True).click()
    await expect(page.get_by_role("status").filter(has_text="1 finding changed.")).to_be_visible()
    await page.get_by_role("row").nth(1).get_by_role("link").click()
    await page.get_by_role("button", name="Severity: Low").click()
    await page.get_by_label("Severity").select_option("Critical")
    await expect(said).to_contain_text("Severity of “")
    await expect(page.get_by_label("Facts")).to_contain_text("just now by Lead")
    assert await lead.axe() == []

    await lead.open(office.path("checklist"))
    item = page.get_by_role("listitem").filter(has=page.get_by_role("checkbox"))
    await item.get_by_role("button", name="Due: no day").click()
    await item.get_by_label("Due").fill("2020-02-03")
    await page.keyboard.press("Enter")
    await expect(item).to_contain_text("overdue, 3 Feb 2020")
    await item.get_by_role("button", name="Owner: nobody yet").click()
    await page.keyboard.press("Escape")
    await expect(item.get_by_role("button", name="Owner: nobody yet")).to_be_focused()
    await expect(said).to_contain_text("Due of “")
    assert await lead.axe() == []
    assert lead.complaints == []
