"""What is typed into a form is never lost: through crashes, sign-outs, outages, other devices, lost access."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from app.core.database import Database
from app.models import Deal, User
from tests.browser.visitor import BROWSER_TESTS, PHONE, Visitor, make_visitor, on_the_loop
from tests.conftest import StartWeb
from tests.factories import make_deal, make_member, make_organisation, make_user, make_work

pytestmark = [*BROWSER_TESTS, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

UP, HERE = "Saved as a draft", "Kept on this device, not yet on the server"
ANDROID = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Mobile Safari/537.36"


@dataclass
class Desk:
    """An editor of a deal that has one finding, and the deal's owner."""

    url: str
    owner: User
    editor: User
    deal: Deal
    finding_id: int

    def path(self, page: str) -> str:
        return f"/deals/{self.deal.id}/{page}"

    @property
    def edit(self) -> str:
        return self.path(f"findings/{self.finding_id}/edit")

    @property
    def new(self) -> str:
        return self.path("findings/new")


@on_the_loop
async def desk(database: Database, start_web: StartWeb) -> Desk:
    organisation = await make_organisation(database)
    owner, editor = [await make_user(database, organisation, name=name) for name in ("Owner", "Editor")]
    deal = await make_deal(database, organisation, owner=owner, name="YouTube")
    other = await make_deal(database, organisation, owner=owner, name="Skype")  # who has but one comes back to it without a notice
    for each in (deal, other):
        await make_member(database, each, editor, role="editor")
    finding, _ = await make_work(database, deal)
    return Desk((await start_web()).url, owner, editor, deal, finding.id)


async def arrive(browser: Browser, desk: Desk, path: str, *, person: User | None = None, **options: Any) -> Visitor:
    visitor = await make_visitor(browser, desk.url, reduced_motion="reduce", **options)
    await visitor.open(path)
    await visitor.sign_in((person or desk.editor).email)
    await visitor.page.wait_for_url(f"**{path}")
    await expect(visitor.page.locator(".draft-state")).to_be_attached()  # the script has come
    return visitor


async def shows(page: Page, title: str) -> None:
    await expect(page.get_by_label("Title", exact=True)).to_have_value(title)


async def type_title(page: Page, title: str, state: str = UP) -> None:
    await page.get_by_label("Title", exact=True).fill(title)
    await expect(page.get_by_text(state)).to_be_visible()


async def kept(visitor: Visitor) -> list[dict[str, Any]]:
    """What is on the server."""
    answer = await visitor.context.request.get(f"{visitor.url}/api/drafts")
    drafts: list[dict[str, Any]] = (await answer.json())["drafts"]
    return drafts


async def sign_out(page: Page) -> None:
    await page.get_by_label("Your menu").click()
    await page.get_by_role("button", name="Sign out").click()


async def test_text_survives_a_crash_a_sign_out_and_goes_on_on_the_phone(browser: Browser, desk: Desk) -> None:
    first = await arrive(browser, desk, desk.new)
    await type_title(first.page, "Begun at the desk")
    # The tab dies, and with it its browser.
    await first.context.close()
    phone = await arrive(browser, desk, desk.new, viewport=PHONE, user_agent=ANDROID)
    page = phone.page
    await shows(page, "")
    await expect(page.get_by_text("You were writing this in Chrome on Linux a moment ago: “Begun at the desk”")).to_be_visible()
    assert await phone.look() == []
    await page.get_by_role("button", name="Continue here").click()
    await shows(page, "Begun at the desk")
    await expect(page.get_by_text("Draft restored")).to_be_visible()
    # To look at it, and leave it again, is not to write it: the desk may save what it has.
    version = (await kept(phone))[0]["version"]
    await page.reload()
    await shows(page, "Begun at the desk")
    await page.reload()
    assert [each["version"] for each in await kept(phone)] == [version]
    await type_title(page, "Gone on with on the phone")
    # Typed and left at once: signing out waits for it, and leaves nothing here.
    await page.get_by_label("Text").fill("The last words")
    await sign_out(page)
    await page.wait_for_url("**/login")
    assert await page.evaluate("Object.keys(localStorage).filter((key) => key.includes(':draft:'))") == []
    await phone.open(desk.new)
    await phone.sign_in(desk.editor.email)
    await page.wait_for_url(f"**{desk.new}")
    await page.get_by_role("button", name="Continue here").click()
    await expect(page.get_by_label("Text")).to_have_value("The last words")
    await shows(page, "Gone on with on the phone")
    # Saved, it is over on every device.
    await page.get_by_role("button", name="Create finding").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Gone on with on the phone")
    again = await arrive(browser, desk, desk.new)
    assert await kept(again) == []
    assert phone.complaints == again.complaints == []


async def test_offline_it_waits_here_and_goes_up_by_itself(browser: Browser, desk: Desk) -> None:
    visitor = await arrive(browser, desk, desk.edit)
    page = visitor.page
    save = page.get_by_role("button", name="Save", exact=True)
    await visitor.context.set_offline(True)
    await expect(save).to_be_disabled()
    await expect(page.get_by_text("You are offline.")).to_be_visible()
    await type_title(page, "Written in a tunnel", HERE)
    assert await visitor.look() == []
    # Signing out would lose it: it is asked first.
    await sign_out(page)
    await expect(page.get_by_role("dialog")).to_contain_text("One text you typed is not on the server yet")
    await page.get_by_role("button", name="Stay signed in").click()
    await visitor.context.set_offline(False)
    await expect(page.get_by_text(UP)).to_be_visible()
    await expect(save).to_be_enabled()
    async with page.expect_request(lambda sent: sent.url.endswith("/api/place") and '"name":"text"' in (sent.post_data or "")):
        await page.get_by_label("Text").focus()  # who stayed keeps their place, too

    # Sent while nothing answers, before anybody has noticed: it stays, says so, and is sent when it can be.
    away = True

    async def answer(route: Route) -> None:
        await (route.abort() if away else route.fallback())

    await page.route("**/*", answer)
    await save.click()
    await expect(page.get_by_text("This is not saved yet: it is sent by itself as soon as that works.")).to_be_visible()
    await expect(save).to_be_disabled()
    away = False
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Written in a tunnel")


async def test_typed_on_two_devices_both_are_shown_and_one_is_chosen(browser: Browser, desk: Desk) -> None:
    first = await arrive(browser, desk, desk.edit)
    phone = await arrive(browser, desk, desk.edit, user_agent=ANDROID, viewport=PHONE)
    await type_title(first.page, "From the desk")
    await phone.page.get_by_label("Title", exact=True).fill("From the phone")
    choice = phone.page.get_by_role("form", name="Two drafts")
    await expect(choice.get_by_role("group", name="Title")).to_contain_text("From the desk")
    await expect(choice.get_by_role("group", name="Title")).to_contain_text("From the phone")
    assert await phone.look() == []
    await choice.get_by_label("Take what you wrote in Chrome on Linux").check()
    await choice.get_by_role("button", name="Go on with what is chosen").click()
    await shows(phone.page, "From the desk")
    await type_title(phone.page, "From both")
    # The first one has what it typed, and hears of it as soon as it goes on.
    await shows(first.page, "From the desk")
    await first.page.get_by_label("Text").fill("More")
    await expect(first.page.get_by_role("form", name="Two drafts")).to_contain_text("on your phone")
    # What another device has written since is not what is saved here, and stays.
    await first.page.get_by_role("button", name="Save", exact=True).click()
    await expect(first.page.get_by_role("heading", level=1)).to_contain_text("From the desk")
    assert [each["first_words"] for each in await kept(first)] == ["From both"]


async def test_text_outlives_the_access_with_and_without_a_script(browser: Browser, desk: Desk) -> None:
    writer, plain = await arrive(browser, desk, desk.edit), await make_visitor(browser, desk.url, java_script_enabled=False)
    await plain.open(desk.edit)
    await plain.sign_in(desk.editor.email)
    owner = await make_visitor(browser, desk.url)
    await owner.sign_in(desk.owner.email)
    members = f"{desk.url}/api/deals/{desk.deal.id}/members/{desk.editor.id}"
    await type_title(writer.page, "Mine alone")
    await plain.page.get_by_label("Title", exact=True).fill("Without a script")
    assert (await owner.context.request.delete(members)).status == 204

    # The page knows once it tries to keep more of it; sending it would come to the same.
    await writer.page.get_by_label("Text").fill("Typed too late")
    await expect(writer.page.get_by_text("You no longer have access to this deal.")).to_be_visible()
    await expect(writer.page.get_by_role("button", name="Save", exact=True)).to_be_disabled()
    await expect(writer.page.get_by_label("Text")).to_have_value("Typed too late")
    assert await writer.look() == []
    await plain.page.get_by_role("button", name="Save", exact=True).click()
    await expect(plain.page.get_by_role("heading", level=1)).to_have_text("This deal is no longer available to you")
    await expect(plain.page.get_by_label("Title", exact=True)).to_have_value("Without a script")
    await expect(plain.page.get_by_text("YouTube")).to_have_count(0)
    assert await plain.overflows() is False


async def test_drafts_are_listed_and_marked_gone_on_with_and_discarded_with_undo(browser: Browser, desk: Desk) -> None:
    visitor = await arrive(browser, desk, desk.edit)
    page = visitor.page
    await type_title(page, "A better title")
    await visitor.open(desk.new)
    await type_title(page, "Something new")
    for path in (desk.path("findings"), desk.path(f"findings/{desk.finding_id}")):
        await visitor.open(path)
        await expect(page.get_by_text("Draft", exact=True)).to_be_visible()
        assert await visitor.look() == []
    # Where one is back says that something waits.
    again = await make_visitor(browser, desk.url, reduced_motion="reduce")
    await again.sign_in(desk.editor.email)
    await expect(again.page.get_by_role("link", name="Continue your drafts")).to_be_visible()
    await again.page.get_by_role("link", name="Continue your drafts").click()
    rows = again.page.locator(".inbox li")
    await expect(rows).to_have_count(2)
    await expect(rows.nth(0)).to_contain_text("Something newA new finding · YouTube")
    await expect(rows.nth(1)).to_contain_text("A better titleFinding #1 · YouTube")
    assert await again.look() == []
    await rows.nth(1).get_by_role("link").click()
    await again.page.wait_for_url(f"**{desk.edit}**")
    await shows(again.page, "A better title")
    await expect(again.page.get_by_text("Draft restored")).to_be_visible()
    await again.page.get_by_role("button", name="Discard", exact=True).click()
    assert await again.page.get_by_label("Title", exact=True).input_value() != "A better title"
    await again.page.locator(".draft").get_by_role("button", name="Undo").click()
    await shows(again.page, "A better title")
    await expect(again.page.get_by_text(UP)).to_be_visible()
    await again.open("/drafts")
    await again.page.get_by_role("button", name="Discard Something new").click()
    await expect(rows).to_have_count(1)
    await again.page.locator(".notice", has_text="The draft is discarded").get_by_role("button", name="Undo").click()
    await expect(rows).to_have_count(2)
    await again.page.get_by_role("button", name="Discard A better title").click()
    await expect(rows).to_have_count(1)
    # A form that is but a part of its page is found, and ends its draft like any other.
    await again.open(desk.path("checklist"))
    await again.page.get_by_label("What", exact=True).fill("An item")
    await again.page.get_by_label("Section").fill("Tax")
    await expect(again.page.get_by_text(UP)).to_be_visible()
    await again.open("/drafts")
    await rows.first.get_by_role("link").click()
    await expect(again.page.get_by_label("What", exact=True)).to_have_value("An item")
    await again.page.get_by_role("button", name="Add item").click()
    await expect(again.page.get_by_role("status").filter(has_text="The item is on the list.")).to_be_visible()
    await again.open("/drafts")
    await expect(rows).to_have_count(1)
    # Discarded here, it is not brought back by the browser it was begun in.
    await visitor.open(desk.edit)
    await expect(page.get_by_text("What you had typed here was saved or discarded elsewhere meanwhile.")).to_be_visible()
    assert await page.get_by_label("Title", exact=True).input_value() != "A better title"
    assert visitor.complaints == again.complaints == []


async def test_what_is_typed_before_the_script_comes_and_where_there_is_no_room_is_kept(browser: Browser, desk: Desk) -> None:
    visitor = await arrive(browser, desk, desk.edit)
    page = visitor.page
    await type_title(page, "Typed earlier")
    await page.get_by_label("Text").fill("The text of it")
    await expect(page.get_by_text(UP)).to_be_visible()
    late = asyncio.Event()

    async def come_late(route: Route) -> None:
        await late.wait()
        await route.fallback()

    await page.route("**/js/drafts.js*", come_late)
    await page.goto(desk.url + desk.edit, wait_until="commit")
    await page.get_by_label("Title", exact=True).fill("Typed meanwhile")
    late.set()
    # Both are there, also after one has looked away without choosing.
    choice = page.get_by_role("form", name="Two drafts")
    for _ in range(2):
        await expect(choice.get_by_role("group", name="Title")).to_contain_text("Typed earlier")
        await expect(choice.get_by_role("group", name="Title")).to_contain_text("Typed meanwhile")
        await expect(choice.get_by_role("group")).to_have_count(1)
        await expect(page.get_by_label("Text")).to_have_value("The text of it")
        await page.reload()
    await choice.get_by_label("Take what you wrote in this browser").check()
    await choice.get_by_role("button", name="Go on with what is chosen").click()
    await shows(page, "Typed earlier")
    await expect(page.get_by_text(UP)).to_be_visible()
    assert [each["first_words"] for each in await kept(visitor)] == ["Typed earlier"]

    # A browser that has no room: it goes up all the same.
    full = "Storage.prototype.setItem = function () { throw new DOMException('full', 'QuotaExceededError'); }"
    await visitor.context.add_init_script(full)
    await visitor.open(desk.new)
    await type_title(page, "There is no room")
    # A phone puts the page out of sight and ends it there, unheard: nothing waits for a pause.
    await page.evaluate("window.setTimeout = () => 0")
    await page.get_by_label("Text").fill("Typed last")
    async with page.expect_request(lambda request: "/drafts/" in request.url and "Typed last" in (request.post_data or "")):
        await page.evaluate("""() => {
          Object.defineProperty(document, "visibilityState", { value: "hidden" });
          document.dispatchEvent(new Event("visibilitychange"));
        }""")
    assert visitor.complaints == []
