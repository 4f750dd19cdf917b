"""Where a person is, and where they find themselves when they come back: what work.md, shell.md and guide.md promise, and nothing else.

It knows neither the code nor the site: the walk tells it what a person did and saw, and asks it what they are to see next.
"""

from dataclasses import dataclass, field, replace

# The pages that show a list; those of no deal have the number 0 for it.
LISTS = ("findings", "checklist", "team", "deals", "board")
Query = frozenset[tuple[str, str]]
WHOLE: Query = frozenset()
# A form: its deal, and its name in the list of drafts.
Form = tuple[int, str]


@dataclass(frozen=True)
class View:
    """What is on the screen. `row` is the first one in sight of a list, 0 the top of the page."""

    page: str
    deal: int = 0
    item: int = 0
    form: str = ""
    query: Query = WHOLE
    row: int = 0

    @property
    def is_list(self) -> bool:
        return self.page in LISTS and not self.item and not self.form

    @property
    def draft(self) -> Form | None:
        """The form that is on it and takes a text."""
        if self.page == "findings" and self.form:
            return self.deal, f"finding-{self.item or 'new'}"
        if self.page == "checklist":
            return self.deal, f"item-{self.item or 'new'}"
        return None

    def __str__(self) -> str:
        said = [self.page, self.item, self.form, "&".join(f"{name}={value}" for name, value in sorted(self.query))]
        return " ".join(
            [f"deal {self.deal}"] * bool(self.deal) + [str(each) for each in said if each] + [f"row {self.row}"] * bool(self.row)
        )


@dataclass
class Person:
    """What the server keeps: on any device, whatever happens to the browser."""

    deal: int = 0
    left: dict[int, View] = field(default_factory=dict)
    lists: dict[tuple[int, str], View] = field(default_factory=dict)
    drafts: dict[Form, str] = field(default_factory=dict)


@dataclass
class Device:
    """A browser with one tab: its session has a deal, its tab lists and a history of its own; some texts are here at once."""

    person: Person
    deal: int = 0
    lists: dict[tuple[int, str], View] = field(default_factory=dict)
    history: list[View] = field(default_factory=list)
    drafts: dict[Form, str] = field(default_factory=dict)

    @property
    def now(self) -> View:
        return self.history[-1]

    def see(self, view: View, *, is_new: bool = True) -> None:
        """Shown; what is seen last is what is kept. `is_new`: by a step of its own, which "Back" takes back."""
        self.history[-1:] = [*([] if not is_new else self.history[-1:]), view]
        if view.deal:
            self.deal = self.person.deal = view.deal
            self.person.left[view.deal] = view
        if view.is_list:
            self.lists[view.deal, view.page] = self.person.lists[view.deal, view.page] = view

    def type(self, text: str) -> None:
        """The form on the screen says this now."""
        form = self.now.draft
        assert form
        self.drafts[form] = self.person.drafts[form] = text

    def save(self) -> None:
        """It ends the draft on every device."""
        form = self.now.draft
        assert form
        del self.person.drafts[form]
        self.drafts.pop(form, None)

    # Where it leads

    def on_list(self, page: str, deal: int = 0) -> View:
        """Without saying more: as this tab left it, else as the person did on whichever device."""
        here = (deal, page)
        return self.lists.get(here) or self.person.lists.get(here) or View(page, deal)

    def at_address(self, view: View) -> View:
        """An address that says it all but for the row, which is the tab's own."""
        own = self.lists.get((view.deal, view.page))
        return replace(view, row=own.row if view.is_list and own and own.query == view.query else 0)

    def on_deal(self, deal: int) -> View:
        """Where the person left it, whichever device that was on."""
        left = self.person.left.get(deal, View("overview", deal))
        return self.on_list(left.page, deal) if left.is_list else left

    def come_in(self) -> View:
        """The front door."""
        return self.on_deal(self.deal) if self.deal else self.on_list("deals")

    def is_offered(self, form: Form) -> bool:
        """There is a text of this form on the server that this browser does not have."""
        there = self.person.drafts.get(form)
        return there is not None and self.drafts.get(form) != there

    # What happens to it

    def lose_tab(self) -> None:
        self.lists.clear()
        self.history.clear()

    def sign_in(self) -> None:
        self.deal = self.person.deal
        self.history.clear()

    def sign_out(self) -> None:
        """The browser keeps nothing that somebody typed; another person may be next."""
        self.lose_tab()
        self.drafts.clear()
        self.deal = 0
