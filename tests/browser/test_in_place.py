"""Small changes where they stand, in a real browser: at once, undone, refused, and by keys."""

import re
from itertools import groupby

import pytest
from playwright.async_api import Browser, Locator, Page, Request, expect

from tests.browser.test_work import Office, api, arrive, office
from tests.browser.visitor import BROWSER_TESTS, PHONE, Visitor

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
    await page.keyboard.press("Escape")

    # By words, from wherever in the deal: a finding, an item, something new.
    (item,) = (await api(lead, "GET", f"/api{office.path('checklist')}"))["items"]
    for words, shown in (("number 23", "#23 Finding number 23"), (item["title"], item["title"]), ("new fin", "New finding")):
        await press("Control+k")
        await page.keyboard.type(words)
        await press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text(shown)
    await lead.open(office.path("checklist"))
    await press("/")
    await page.keyboard.type("zebra")
    await press("Enter")
    await expect(page.get_by_text("No item or section here has “zebra”")).to_be_visible()
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

    # The same on the item's own page, which its form is one key away from.
    await item.get_by_role("link").click()
    facts = page.get_by_label("Facts")
    await page.evaluate("window.stayed = true")
    await page.keyboard.press("x")
    await expect(said).to_contain_text("Done: ")
    await expect(facts).to_contain_text("done just now")
    await expect(facts.get_by_role("button", name="Due: ")).to_be_disabled()
    await facts.get_by_role("checkbox").click()
    await expect(said).to_contain_text("Not done: ")
    await facts.get_by_role("button", name="Due: overdue").click()
    await facts.get_by_label("Due").fill("2999-02-03")
    await page.keyboard.press("Enter")
    await expect(facts).to_contain_text("due 3 Feb 2999")
    await facts.get_by_role("button", name="Owner: nobody yet").click()
    await facts.get_by_label("Owner").select_option("Editor")
    await expect(said).to_contain_text("Owner of “")
    await expect(facts).to_contain_text("just now by Lead")
    assert await page.evaluate("window.stayed")
    assert await lead.look() == []
    await page.keyboard.press("e")
    await expect(page.get_by_label("Who")).to_have_value(str(office.editor.id))
    await expect(page.get_by_label("Due")).to_have_value("2999-02-03")
    assert lead.complaints == []


class Hand:
    """Counts what a person does: clicks, keys (a word is one), choices out of a list; and the pages that are loaded for it."""

    def __init__(self, page: Page) -> None:
        self.page, self.actions, self.loads = page, 0, 0
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        # What a form is answered with leads to the page that counts.
        self.loads += request.is_navigation_request() and request.method == "GET"

    async def click(self, target: Locator) -> None:
        self.actions += 1
        await target.click()

    async def choose(self, target: Locator, value: str) -> None:
        self.actions += 1
        await target.select_option(value)

    async def keys(self, *words: str) -> None:
        for word in words:
            self.actions += 1
            await (self.page.keyboard.press if len(word) == 1 or "+" in word or word == "Enter" else self.page.keyboard.type)(word)

    def done(self) -> tuple[int, int]:
        """Actions and loads since the last time."""
        counted, self.actions, self.loads = (self.actions, self.loads), 0, 0
        return counted


async def test_what_is_done_often_takes_three_actions_and_no_page_that_was_not_asked_for(browser: Browser, office: Office) -> None:
    """The table of docs/work.md."""
    lead = await arrive(browser, office, office.lead)
    page, said, hand = lead.page, lead.page.get_by_role("region", name="Messages"), Hand(lead.page)
    heading, took = page.get_by_role("heading", level=1), {}
    await lead.open(office.path("findings", office.other))
    hand.done()
    await hand.keys("Control+k", "youtube", "Enter")
    await expect(page).to_have_title(re.compile("YouTube"))
    took["switch deal"] = hand.done()
    await lead.open(office.path("findings"))
    hand.done()
    await hand.keys("c")
    await expect(page.get_by_label("Title")).to_be_focused()
    await hand.keys("Churn is high", "Control+Enter")
    await expect(heading).to_contain_text("Churn is high")
    took["new finding"] = hand.done()
    await hand.click(page.get_by_role("button", name="Status: "))
    await hand.choose(page.get_by_label("Status"), "in_review")
    await expect(said).to_contain_text("In review")
    took["change status"] = hand.done()
    await hand.click(page.get_by_role("button", name="Owner: "))
    await hand.choose(page.get_by_label("Owner"), str(office.editor.id))
    await expect(said).to_contain_text("Editor")
    took["assign"] = hand.done()
    await hand.keys("Control+k", "churn")
    await expect(page.get_by_role("option", name="Churn is high")).to_be_visible()
    took["find by words"] = hand.done()
    await lead.open(office.path("checklist"))
    hand.done()
    await hand.click(page.get_by_role("checkbox"))
    await expect(said).to_contain_text("Done: ")
    took["tick"] = hand.done()
    await hand.keys("j", "x")
    await expect(said).to_contain_text("Not done: ")
    took["tick by keys"] = hand.done()
    # The page of another deal, the form and the page of a new finding are what was asked for.
    assert took == {
        "switch deal": (3, 1),
        "new finding": (3, 2),
        "change status": (2, 0),
        "assign": (2, 0),
        "find by words": (2, 0),
        "tick": (1, 0),
        "tick by keys": (2, 0),
    }


async def order_of(visitor: Visitor, office: Office) -> str:
    """The sections as the server has them, each with the first letters of its items; the page shows the same."""
    items = (await api(visitor, "GET", f"/api{office.path('checklist')}"))["items"]
    told = " ".join(f"{name}:{''.join(each['title'][0] for each in of)}" for name, of in groupby(items, key=lambda each: each["section"]))
    shown = await visitor.page.evaluate("""() => [...document.querySelectorAll("[data-section]")].filter((list) => list.children.length)
      .map((list) => list.dataset.section + ":" + [...list.querySelectorAll(".todo-title")].map((each) => each.textContent[0]).join(""))
      .join(" ")""")
    assert shown == told
    return told


async def drag(visitor: Visitor, title: str, onto: str, *, by_touch: bool = False) -> None:
    """The handle of an item, to the lower half of another."""
    rows = [visitor.page.get_by_role("listitem").filter(has=visitor.page.get_by_role("link", name=name)) for name in (title, onto)]
    # Away from the edges, where the page scrolls.
    await rows[0].evaluate("row => row.scrollIntoView({block: 'center'})")
    boxes = [await rows[0].locator("[data-grip]").bounding_box(), await rows[1].bounding_box()]
    assert boxes[0] is not None
    assert boxes[1] is not None
    x, y = boxes[0]["x"] + boxes[0]["width"] / 2, boxes[0]["y"] + boxes[0]["height"] / 2
    ends = boxes[1]["y"] + boxes[1]["height"] - 3
    if by_touch:
        finger = await visitor.context.new_cdp_session(visitor.page)
        for kind, at in (("touchStart", y), ("touchMove", (y + ends) / 2), ("touchMove", ends)):
            await finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": at}]})
        await finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    else:
        await visitor.page.mouse.move(x, y)
        await visitor.page.mouse.down()
        await visitor.page.mouse.move(x, (y + ends) / 2)
        await visitor.page.mouse.move(x, ends)
        await visitor.page.mouse.up()


async def test_items_are_moved_by_keys_and_by_their_handle(browser: Browser, office: Office) -> None:
    lead = await arrive(browser, office, office.lead)
    page, said, list_ = lead.page, lead.page.get_by_role("region", name="Messages"), f"/api{office.path('checklist')}"
    (old,) = (await api(lead, "GET", list_))["items"]
    await api(lead, "PATCH", f"{list_}/{old['id']}", section="Tax", title="Audits")
    for section, title in (("Tax", "Books"), ("Legal", "Contracts"), ("Legal", "Deeds"), ("HR", "Employees")):
        await api(lead, "POST", list_, section=section, title=title)
    await lead.open(office.path("checklist"))
    await page.evaluate("window.stayed = true")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.url.endswith("/move") else None)

    audits = page.get_by_role("link", name="Audits")
    await audits.focus()
    for key, text, order in (
        ("ArrowDown", "Moved to 2 of 2 in Tax", "Tax:BA Legal:CD HR:E"),
        ("ArrowDown", "Moved to 1 of 3 in Legal", "Tax:B Legal:ACD HR:E"),
        ("ArrowUp", "Moved to 2 of 2 in Tax", "Tax:BA Legal:CD HR:E"),
        ("ArrowUp", "Moved to 1 of 2 in Tax", "Tax:AB Legal:CD HR:E"),
    ):
        await page.keyboard.press(f"Alt+{key}")
        await expect(said).to_contain_text(text)
        await expect(audits).to_be_focused()
        assert await order_of(lead, office) == order
    assert len(sent) == 4
    await page.keyboard.press("Alt+ArrowUp")
    await expect(page.get_by_text("It is the first one already")).to_be_attached()

    # A section that nothing is left in is a place to come back to.
    await page.get_by_role("link", name="Employees").focus()
    await page.keyboard.press("Alt+ArrowUp")
    await expect(said).to_contain_text("Moved to 3 of 3 in Legal")
    assert await order_of(lead, office) == "Tax:AB Legal:CDE"
    await said.get_by_role("button", name="Undo").click()
    await expect(page.get_by_text("Moved to 1 of 1 in HR")).to_be_attached()
    await expect(page.get_by_role("link", name="Employees")).to_be_focused()
    assert await order_of(lead, office) == "Tax:AB Legal:CD HR:E"

    await drag(lead, "Books", "Contracts")
    await expect(said).to_contain_text("Moved to 2 of 3 in Legal")
    await expect(page.get_by_role("heading", name="Legal")).to_contain_text("0 of 3")
    assert await order_of(lead, office) == "Tax:A Legal:CBD HR:E"
    assert await lead.look() == []
    # What is changed after a move is changed at the version it has then, and the other way round.
    await page.get_by_role("checkbox", name="Books").click()
    await expect(said).to_contain_text("Done: Books")
    await expect(page.get_by_role("heading", name="Legal")).to_contain_text("1 of 3")

    # Somebody deletes what it was to follow.
    editor = await arrive(browser, office, office.editor)
    ids = {each["title"]: each["id"] for each in (await api(lead, "GET", list_))["items"]}
    assert (await editor.context.request.delete(f"{office.url}{list_}/{ids['Deeds']}")).ok
    await drag(lead, "Audits", "Deeds")
    await expect(said).to_contain_text("“Audits” is not moved. Somebody changed the order meanwhile")
    await said.get_by_role("button", name="Load the page again").click()
    await expect(page.get_by_role("link", name="Deeds")).to_have_count(0)
    assert await order_of(lead, office) == "Tax:A Legal:CB HR:E"
    await lead.open(office.path("checklist?state=open"))
    await expect(page.get_by_role("link", name="Audits")).to_be_visible()
    await expect(page.locator("[data-grip]")).to_have_count(0)
    assert [each for each in lead.complaints if "409 (Conflict)" not in each] == []

    # By a finger, on a phone.
    phone = await arrive(browser, office, office.editor, viewport=PHONE, has_touch=True, is_mobile=True)
    await phone.open(office.path("checklist"))
    await expect(phone.page.locator("[data-grip]").first).to_be_visible()
    await drag(phone, "Contracts", "Books", by_touch=True)
    await expect(phone.page.get_by_role("region", name="Messages")).to_contain_text("Moved to 2 of 2 in Legal")
    assert await order_of(phone, office) == "Tax:A Legal:BC HR:E"
    assert phone.complaints == []
