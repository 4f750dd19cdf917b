"""What breaks during a walk, and how the person comes back from it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from playwright.async_api import Error

from tests.browser.walks.model import View
from tests.browser.walks.stage import TO_ALL
from tests.browser.walks.walk import Astray, Walk


async def reload(walk: Walk) -> None:
    await walk.screen.pause(walk.dice.choice((0, 300)))
    await walk.screen.reload()
    await walk.arrive("reload", walk.now, is_new=False)


async def crash(walk: Walk) -> None:
    """The tab is killed and another one opened."""
    await walk.write_late()
    before = walk.now
    screen = walk.screen
    with suppress(Error, TimeoutError):
        await asyncio.wait_for(screen.page.goto("chrome://crash"), 5)
    await screen.page.close()
    screen.take(await screen.context.new_page())
    walk.device.lose_tab()
    await _come_back(walk, "after a crash", before)


async def sign_out(walk: Walk) -> None:
    await _sign_out(walk)
    await walk.sign_in(walk.world.person.email)
    walk.device.sign_in()
    await walk.arrive("sign in again", walk.device.come_in())


async def cookie_lost(walk: Walk) -> None:
    await walk.write_late()
    await walk.screen.context.clear_cookies()
    await _sign_in_again(walk)


async def login_expired(walk: Walk) -> None:
    await walk.write_late()
    await walk.stage.end_login(walk.world.person)
    await _sign_in_again(walk)


async def other_device(walk: Walk) -> None:
    """Go on on the other one, and come back to the first."""
    first = walk.width
    await walk.screen.rest()
    await walk.use_device("phone" if first == "desk" else "desk")
    await walk.step_times(2)
    await walk.screen.rest()
    await walk.use_device(first)


async def other_person(walk: Walk) -> None:
    """Somebody else signs in to this browser and opens the same form; the login before was ended, or just lost."""
    before, screen = walk.now, walk.screen
    if walk.dice.random() < 0.5:
        await _sign_out(walk)
    else:
        await walk.write_late()
        await screen.context.clear_cookies()
        await screen.open("/login")
        walk.device.sign_out()
    await walk.sign_in(walk.world.other.email)
    deal = before.deal or walk.world.deals[0]
    path = {"findings": f"findings/{before.item}/edit" if before.item else "findings/new", "checklist": f"checklist/{before.item or ''}"}
    await screen.open(f"/deals/{deal}/{path.get(before.page, 'findings/new').rstrip('/')}")
    await screen.pause(500)
    seen = await screen.look()
    mine = f"mine{walk.seed}x"
    if seen is None or mine in f"{seen.text} {seen.said}":
        walk.counts["foreign"] += len(mine)
        raise Astray(f"somebody else is shown what this person typed: {seen}")
    await screen.type(f"other{walk.seed}x ")
    await screen.rest()
    if walk.dice.random() < 0.5:
        await screen.click("form[data-signs-out] button")
        await screen.page.wait_for_url("**/login")
    else:
        await screen.context.clear_cookies()
        await screen.open("/login")
    await walk.sign_in(walk.world.person.email)
    walk.device.sign_in()
    await walk.arrive("sign in after somebody else", walk.device.come_in())


async def under_a_fault(walk: Walk) -> None:
    """While something of the site is away."""
    if walk.now.draft in walk.person.drafts:
        walk.tail = next(walk.words)
        await walk.screen.type(walk.tail)
    await _come_back(walk, "meanwhile", walk.now)
    if walk.now.draft and walk.now.deal in walk.world.deals:
        await walk.write()
    await walk.screen.pause(walk.dice.choice((0, 1000)))
    await reload(walk)


async def _come_back(walk: Walk, how: str, before: View) -> None:
    """One of the ways back; those who look at a list of deals come back to that."""
    screen, device = walk.screen, walk.device
    if not before.deal:
        await walk.go(f"{how}, open {before.page}", lambda: screen.open(_address(before)), device.on_list(before.page))
    elif device.history and walk.dice.random() < 0.6:
        await screen.reload()
        await walk.arrive(f"{how}, reload", walk.now, is_new=False)
    elif walk.dice.random() < 0.5:
        await walk.go(f"{how}, come in", lambda: screen.open("/"), device.come_in())
    else:
        await walk.go(f"{how}, open the deal", lambda: screen.open(f"/deals/{before.deal}"), device.on_deal(before.deal))


def _address(view: View) -> str:
    return f"/deals/{view.deal}/{view.page}" if view.deal else "/deals/board" if view.page == "board" else "/deals"


async def _sign_out(walk: Walk) -> None:
    """Typed and left at once: signing out waits for what is to be kept."""
    if walk.now.draft in walk.person.drafts:
        await walk.write()
    await walk.screen.click("form[data-signs-out] button")
    await walk.screen.page.wait_for_url("**/login")
    walk.device.sign_out()


async def _sign_in_again(walk: Walk) -> None:
    """The page asks for it as soon as it is loaded again, and then leads on."""
    before = walk.now
    if walk.dice.random() < 0.7:
        await walk.screen.reload()
        expected = before
    else:
        await walk.screen.open("/")
        expected = None
    await walk.sign_in(walk.world.person.email)
    walk.device.sign_in()
    await walk.arrive("sign in again", expected or walk.device.come_in())


PERSONAL: dict[str, Callable[[Walk], Awaitable[None]]] = {
    each.__name__: each for each in (reload, crash, sign_out, cookie_lost, login_expired, other_device, other_person)
}
BLOWS = (*PERSONAL, *TO_ALL)
