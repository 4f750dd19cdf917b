"""One person's walk: some steps, something breaks, they come back, some steps more. Whatever they see is compared with the model."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

from playwright.async_api import Browser, Error

from tests.browser.visitor import DESKTOP, PHONE
from tests.browser.walks.model import LISTS, Device, Person, Query, View
from tests.browser.walks.screen import Screen, Seen, view_of
from tests.browser.walks.stage import Stage, World
from tests.factories import PASSWORD

# Longer than the machine may stand still, and than a page waits until it asks again.
PATIENCE_SECONDS = 30
STEPS_BEFORE, STEPS_AFTER = (3, 6), (1, 3)
_UNSETTLED = ("open", "in_review")
_OPEN = ":is(.row-link, .card-name, .todo-title, .row-acts a)"
_CHOICES = """() => [...document.querySelectorAll(".filters a.item, .rows thead a")].map((link) => link.getAttribute("href"))"""
# By page: what is chosen there, as far as the model knows the rows.
_FILTERS = {"findings": {"severity", "status"}, "checklist": {"state"}, "deals": {"stage"}, "board": set[str]()}
Width = Literal["desk", "phone"]
Step = Callable[["Walk"], Awaitable[bool]]


class Astray(Exception):
    """They are not where they were."""


@dataclass
class Walk:
    seed: int
    stage: Stage
    browser: Browser
    world: World
    person: Person = field(default_factory=Person)
    devices: dict[Width, tuple[Device, Screen]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    tail: str = ""  # typed so late that it may be lost
    astray: str = ""

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.width: Width = self.dice.choice(("desk", "phone"))
        self.words = (f"mine{self.seed}x{n} " for n in range(10**6))

    @property
    def device(self) -> Device:
        return self.devices[self.width][0]

    @property
    def screen(self) -> Screen:
        return self.devices[self.width][1]

    @property
    def now(self) -> View:
        return self.device.now

    # The walk

    async def begin(self) -> None:
        await self.use_device(self.width)
        deal = self.dice.choice(self.world.deals)
        await self.go(f"open deal {deal}", lambda: self.screen.open(f"/deals/{deal}"), self.device.on_deal(deal))
        await self.step_times(self.dice.randint(*STEPS_BEFORE))
        if self.dice.random() < 0.6:
            await self.begin_to_write()

    async def end(self) -> None:
        await self.step_times(self.dice.randint(*STEPS_AFTER))
        await self.screen.rest()
        wanted = self.person.drafts
        listed: dict[tuple[int, str], str] = {}
        for _ in range(PATIENCE_SECONDS * 4):
            answer = await self.screen.page.request.get(f"{self.stage.url}/api/drafts")
            if answer.ok:
                drafts = (await answer.json())["drafts"]
                listed = {(each["deal_id"], f"{each['form']}-{each['item_id'] or 'new'}"): each["first_words"] for each in drafts}
                if listed.keys() == wanted.keys():
                    return
            await asyncio.sleep(0.25)
        raise Astray(f"the drafts on the server are {listed}, and were to be {wanted}")

    async def step_times(self, times: int) -> None:
        for _ in range(times):
            steps = list(STEPS)
            while not await steps[self.dice.choices(range(len(steps)), [STEPS[each] for each in steps])[0]](self):
                pass
            await self.screen.pause(self.dice.choice((0, 0, 100, 400)))

    async def use_device(self, width: Width) -> None:
        """The desk's browser or the phone's; the first time it is opened at the front door."""
        self.width = width
        if width not in self.devices:
            context = await self.browser.new_context(viewport=DESKTOP if width == "desk" else PHONE, reduced_motion="reduce")
            self.devices[width] = Device(self.person), Screen(context, await context.new_page(), self.stage.url)
        await self.screen.open("/")
        await self.pass_login()
        await self.arrive(f"take up the {width}", self.device.come_in())

    async def pass_login(self) -> None:
        """Sign in, if that is asked for."""
        page = self.screen.page
        if "/login" in page.url:
            await self.sign_in(self.world.person.email)
            self.device.sign_in()

    async def sign_in(self, email: str) -> None:
        """Again, where what breaks refuses it or leaves it without an answer."""
        page = self.screen.page
        for _ in range(PATIENCE_SECONDS // 5):
            if await page.locator("#password").count():
                await page.locator("#email").fill(email)
                await page.locator("#password").fill(PASSWORD)
                await self.screen.click("form[action='/login'] .button-primary")
            with suppress(Error):
                await page.wait_for_url(lambda url: "/login" not in url, timeout=10_000, wait_until="commit")
                return
        raise Astray("the sign-in does not succeed")

    async def go(self, how: str, act: Callable[[], Awaitable[None]], expected: View) -> bool:
        before = await self.screen.entry()
        await act()
        await self.arrive(how, expected, before=before)
        return True

    async def arrive(self, how: str, expected: View, *, is_new: bool = True, before: str | None = None) -> None:
        """Wait until the screen shows what the model says; it is seen with that. `before` is the entry of the history one came from."""
        self.log.append(f"{self.width}: {how} → {expected}")
        seen, problem = None, ""
        for turn in range(PATIENCE_SECONDS * 10):
            seen = await self.screen.look()
            problem = self.problem(seen, expected)
            if not problem:
                break
            if seen is None and turn % 10 == 9:
                with suppress(Error):
                    await self.screen.page.reload()
            await asyncio.sleep(0.1)
        self.look_for_others(seen)
        if problem or seen is None:
            raise Astray(f"{how}: {problem}\n    wanted {expected}\n    at {self.screen.page.url}; refused {self.screen.refused}")
        # A window that could not be scrolled so far shows another row first, and that is where one is.
        moved = expected.is_list and (expected.row not in seen.rows or seen.is_end)
        is_new = is_new and (before is None or await self.screen.entry() != before)
        self.device.see(replace(expected, row=seen.row) if moved else expected, is_new=is_new)
        await self.check_text()
        self.counts["right"] += 1

    def problem(self, seen: Seen | None, expected: View) -> str:
        if seen is None:
            return "no page of this site"
        if seen.view != replace(expected, row=0):
            return f"it shows {seen.view}"
        if expected.is_list:
            rows = self.rows(expected)
            if set(seen.rows) != set(rows):
                return f"it shows {len(seen.rows)} rows, not the {len(rows)} of it: {sorted(set(seen.rows) ^ set(rows))}"
            title = dict(expected.query).get("sort", "").removeprefix("-") == "title"
            if title and seen.rows != rows:
                return "the rows are in another order"
            if not seen.is_at(expected.row):
                return f"the first row in sight is {seen.row}; {seen.rows}"
        return ""

    def rows(self, view: View) -> list[int]:
        """Of a list, in its order where that is by title."""
        wanted = dict(view.query)
        sort = wanted.pop("sort", "")
        rows = self.world.rows(view.page, view.deal)
        status = wanted.pop("status", "")
        found = [
            id_
            for id_, facts in rows.items()
            if all(facts.get(name) == value for name, value in wanted.items())
            and (not status or facts["status"] in (_UNSETTLED if status == "unsettled" else (status,)))
        ]
        if sort.removeprefix("-") == "title":
            found.sort(key=lambda id_: rows[id_]["title"], reverse=sort.startswith("-"))
        return found

    def look_for_others(self, seen: Seen | None) -> None:
        if seen and "other" in (shown := f"{seen.text} {seen.said}") and f"other{self.seed}x" in shown:
            self.counts["foreign"] += shown.count(f"other{self.seed}x") * len(f"other{self.seed}x")
            raise Astray("what somebody else typed is shown")

    # What is typed

    async def check_text(self) -> None:
        """The form on the screen says what was typed into it, or offers it where that was elsewhere."""
        form = self.now.draft
        if form is None or form[0] not in self.world.deals:
            return
        offered = self.device.is_offered(form)
        if offered:
            button = self.screen.page.get_by_role("button", name="Continue here")
            try:
                await button.wait_for(timeout=PATIENCE_SECONDS * 1000)
            except Error:
                raise Astray(f"{form} is not offered, only {await self.text()!r} is here") from None
            await button.evaluate("(button) => { button.click(); }")
        certain = self.person.drafts[form] if offered else self.device.drafts.get(form, self.base(form))
        for _ in range(PATIENCE_SECONDS * 10):
            shown = await self.text()
            if shown.startswith(certain) and (certain + self.tail).startswith(shown):
                break
            await asyncio.sleep(0.1)
        else:
            self.counts["lost"] += sum(1 for at in range(len(certain)) if not shown.startswith(certain[: at + 1]))
            raise Astray(f"{form} says {shown!r}, not {certain!r}")
        self.tail = ""
        if form in self.person.drafts:
            self.device.type(shown)
        if offered:
            await self.measure()

    def base(self, form: tuple[int, str]) -> str:
        """What it says before anybody types."""
        kind, item = form[1].split("-")
        rows = self.world.findings if kind == "finding" else self.world.items
        return "" if item == "new" else rows[form[0]][int(item)]["title"]

    async def text(self) -> str:
        seen = await self.screen.look()
        return (seen and seen.text) or ""

    async def write(self) -> None:
        form, word, before = self.now.draft, next(self.words), await self.text()
        assert form
        self.log.append(f"{self.width}: type {word!r} into {form}")
        await self.screen.type(word)
        self.device.type(before + word)
        await self.measure()

    async def measure(self) -> None:
        """Where the list stands after something moved it."""
        seen = await self.screen.look()
        if seen and self.now.is_list:
            self.device.see(replace(self.now, row=seen.row), is_new=False)

    async def begin_to_write(self) -> None:
        """Be at a form, with something in it."""
        if self.now.deal not in self.world.deals:
            return
        if self.now.draft is None:
            deal = self.now.deal
            item = self.dice.choice([*self.world.findings[deal]])
            view = self.dice.choice([View("findings", deal, item, "edit"), View("findings", deal, form="new")])
            path = f"/deals/{deal}/findings/{f'{item}/edit' if view.item else 'new'}"
            await self.go("open a form", lambda: self.screen.open(path), view)
        await self.write()

    async def write_late(self) -> None:
        """At rest, then a few characters more, right before it breaks."""
        await self.screen.rest()
        if self.now.draft in self.person.drafts:
            self.tail = next(self.words)
            await self.screen.type(self.tail)

    # Steps; each says whether it could be taken

    async def scroll(self) -> bool:
        seen = await self.screen.look()
        if not self.now.is_list or not seen or not seen.rows:
            return False
        row = self.dice.choice(seen.rows)
        await self.screen.scroll_to(row)
        await self.measure()
        self.log.append(f"{self.width}: scroll to {row}, and see {self.now.row} first")
        return True

    async def choose(self) -> bool:
        """A filter or a sort."""
        if not self.now.is_list or self.now.page == "team":
            return False
        addresses = await self.screen.page.evaluate(_CHOICES)
        views = [(at, view_of(address)) for at, address in enumerate(addresses)]
        fitting = [(at, view) for at, view in views if view.page == self.now.page and self._is_known(view.query) and self.rows(view)]
        if self.width == "phone":
            menus = await self.screen.page.locator(".filters a.item").count()
            fitting = [(at, view) for at, view in fitting if at < menus]
        if not fitting:
            return False
        at, view = self.dice.choice(fitting)
        said = "&".join("=".join(each) for each in sorted(view.query)) or "everything"
        return await self.go(
            f"choose {said}", lambda: self.screen.click(".filters a.item, .rows thead a", at), self.device.at_address(view)
        )

    def _is_known(self, query: Query) -> bool:
        return {name for name, _ in query} <= _FILTERS[self.now.page] | {"sort"}

    async def open_row(self) -> bool:
        seen = await self.screen.look()
        if not self.now.is_list or not seen:
            return False
        deal = self.now.deal
        can_open = self.world.deals if not deal else self.world.members[1:] if self.now.page == "team" else seen.rows
        rows = [row for row in seen.in_sight if row in can_open]
        if not rows:
            return False
        row = self.dice.choice(rows)
        if not deal:
            await self.screen.rest()
        expected = View(self.now.page, deal, row) if deal else self.device.on_deal(row)
        return await self.go(f"open {row}", lambda: self.screen.click(f"[data-row='{row}'] {_OPEN}"), expected)

    async def edit(self) -> bool:
        if self.now.page != "findings" or not self.now.item or self.now.form:
            return False
        return await self.go("edit", lambda: self.screen.click(".page-act a[href$='/edit']"), replace(self.now, form="edit"))

    async def begin_new(self) -> bool:
        if self.now.page != "findings" or not self.now.is_list:
            return False
        return await self.go(
            "begin a new one", lambda: self.screen.click("a[href$='/findings/new']"), View("findings", self.now.deal, form="new")
        )

    async def type(self) -> bool:
        if self.now.draft is None:
            return False
        await self.write()
        return True

    async def save(self) -> bool:
        form = self.now.draft
        if form not in self.person.drafts or self.now.form != "edit":
            return False
        self.world.findings[self.now.deal][self.now.item]["title"] = (await self.text()).strip()
        self.device.save()
        return await self.go("save", lambda: self.screen.click(".card-foot .button-primary"), replace(self.now, form=""))

    async def turn_to(self) -> bool:
        """Another page of the deal."""
        deal = self.now.deal
        if not deal:
            return False
        page = self.dice.choice(("findings", "findings", "checklist", "team", "overview"))
        expected = self.device.on_list(page, deal) if page in LISTS else View(page, deal)
        return await self.go(f"turn to {page}", lambda: self.screen.click(f".rail a[href='/deals/{deal}/{page}']"), expected)

    async def see_all(self) -> bool:
        page, keys = self.dice.choice((("deals", "gd"), ("board", "gb")))
        return await self.go(f"press {keys}", lambda: self.screen.press(keys), self.device.on_list(page))

    async def switch(self) -> bool:
        (deal,) = {*self.world.deals} - {self.now.deal or self.device.deal}
        button, page = f"[data-switcher-form] button[value='{deal}']", self.now.page
        if self.now.deal and await self.screen.page.locator(button).count():
            expected = self.device.on_list(page, deal) if page in LISTS else View(page, deal)
            return await self.go(f"switch to {deal}", lambda: self.screen.click(button), expected)
        return await self.go(f"open deal {deal}", lambda: self.screen.open(f"/deals/{deal}"), self.device.on_deal(deal))

    async def go_back(self) -> bool:
        if len(self.device.history) < 2:
            return False
        self.device.history.pop()
        await self.screen.page.go_back()
        await self.arrive("back", self.now, is_new=False)
        return True

    async def come_in(self) -> bool:
        """Without saying where to."""
        await self.screen.rest()
        if self.dice.random() < 0.5:
            return await self.go("come in", lambda: self.screen.open("/"), self.device.come_in())
        deal = self.device.deal
        return await self.go(f"open deal {deal}", lambda: self.screen.open(f"/deals/{deal}"), self.device.on_deal(deal))


# How often each is taken.
STEPS: dict[Step, int] = {
    Walk.scroll: 20,
    Walk.choose: 15,
    Walk.open_row: 15,
    Walk.edit: 15,
    Walk.type: 15,
    Walk.turn_to: 12,
    Walk.begin_new: 5,
    Walk.save: 3,
    Walk.see_all: 8,
    Walk.switch: 6,
    Walk.go_back: 8,
    Walk.come_in: 4,
}
