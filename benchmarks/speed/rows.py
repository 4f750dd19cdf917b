"""What is measured: rows of the table, whom each row compares, and what Holdfast is to reach in it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.speed.client import Sample, at_rate, closed_loop, in_bursts
from benchmarks.speed.measured import Measured

SQLITE, POSTGRES = "sqlite", "postgresql"
DATABASES = OURS = (SQLITE, POSTGRES)
ALONE = ("sqlite-alone", "postgresql-alone")
PEERS = ("starsessions", "quart-session", "django", "flask-session")
CONNECTIONS, RATE, AT_ONCE = 16, 50, 16
KIB = 1024
# By subject, in the order of their rounds.
Cells = dict[str, Measured]


@dataclass(frozen=True)
class Goal:
    """`figure` is what was measured, as `wanted` names it; `rung`: what was to be reached first, where that is not the goal."""

    about: str
    wanted: str
    figure: float
    met: bool
    rung: str = ""


@dataclass(frozen=True)
class Row:
    """`kind` is what is asked for (see `Site.requests`), `subjects` are keys of sites, the first of them the yardstick if it is a peer."""

    name: str
    title: str
    kind: str
    subjects: tuple[str, ...]
    goals: Callable[[Cells], Iterator[Goal]]
    connections: int = CONNECTIONS
    rate: int = 0
    at_once: int = 0

    def on(self, databases: tuple[str, ...]) -> "Row":
        """The same row with Holdfast on these databases only."""
        left_out = tuple(each for each in DATABASES if each not in databases)
        return replace(self, subjects=tuple(key for key in self.subjects if not left_out or not key.startswith(left_out)))

    async def load(self, port: int, requests: Iterator[bytes], seconds: float) -> Sample:
        if self.rate:
            return await at_rate(port, requests, rate=self.rate, seconds=seconds)
        if self.at_once:
            return await in_bursts(port, requests, at_once=self.at_once, seconds=seconds)
        return await closed_loop(port, requests, connections=self.connections, seconds=seconds)


def share(cells: Cells, one: str, other: str) -> float:
    """The requests a second of one by those of the other, round by round: what slows a round slows both."""
    pairs = zip(cells[one].rounds, cells[other].rounds, strict=True)
    return median(each.per_second / yardstick.per_second for each, yardstick in pairs)


def cpu_share(cells: Cells, one: str, other: str) -> float:
    """The CPU a request of one by that of the other, round by round. Steadier than the former where the machine has other things to do."""
    pairs = zip(cells[one].rounds, cells[other].rounds, strict=True)
    return median(each.cpu_ms / max(yardstick.cpu_ms, 0.001) for each, yardstick in pairs)


def _of_bare_quart(goal: float, *, rung: float = 0) -> Callable[[Cells], Iterator[Goal]]:
    def judge(cells: Cells) -> Iterator[Goal]:
        for ours in (key for key in cells if key != "bare" and key not in PEERS and "bare" in cells):
            figure = share(cells, ours, "bare")
            first = f"first rung {rung:.2f}: {'reached' if figure >= rung else 'not reached'}" if rung else ""
            yield Goal(ours, f"≥ {goal:.2f} of bare Quart", figure, figure >= goal, first)

    return judge


def _live(cells: Cells) -> Iterator[Goal]:
    if {"bare", SQLITE} <= cells.keys():
        figure = cpu_share(cells, SQLITE, "bare")
        yield Goal(SQLITE, "≤ 1.3 × bare Quart's CPU", figure, figure <= 1.3)


def _select(cells: Cells) -> Iterator[Goal]:
    for ours in (key for key in OURS if key in cells and {"django", "flask-session"} <= cells.keys()):
        django, flask = share(cells, ours, "django"), share(cells, ours, "flask-session")
        rung = f"first rung 1 ×: {'reached' if django >= 1 else 'not reached'}"
        yield Goal(ours, "≥ 2.5 × Django's", django, django >= 2.5, rung)
        yield Goal(ours, "≥ Flask-Session's", flask, flask >= 1)


def _page(cells: Cells) -> Iterator[Goal]:
    for ours, cell in cells.items():
        yield Goal(ours, "≤ 6 ms of CPU", cell.cpu_ms, cell.cpu_ms <= 6)
        yield Goal(ours, "≤ 12 ms alone, whole answer", cell.quantile(50), cell.quantile(50) <= 12)
        yield Goal(ours, "≤ 16 KiB gzipped, with its head", cell.bytes / KIB, cell.bytes <= 16 * KIB)


def _cpu(most: float) -> Callable[[Cells], Iterator[Goal]]:
    def judge(cells: Cells) -> Iterator[Goal]:
        for ours, cell in cells.items():
            yield Goal(ours, f"≤ {most:g} ms of CPU", cell.cpu_ms, cell.cpu_ms <= most)

    return judge


def _within(*limits: tuple[int, float], only: tuple[str, ...] = OURS) -> Callable[[Cells], Iterator[Goal]]:
    def judge(cells: Cells) -> Iterator[Goal]:
        for ours, cell in ((key, cells[key]) for key in only if key in cells):
            for percent, most in limits:
                yield Goal(ours, f"p{percent} ≤ {most:g} ms", cell.quantile(percent), cell.quantile(percent) <= most)

    return judge


def _two(cells: Cells) -> Iterator[Goal]:
    if {SQLITE, "sqlite-2"} <= cells.keys():
        figure = share(cells, "sqlite-2", SQLITE)
        yield Goal("sqlite-2", "≥ 1.7 × one process", figure, figure >= 1.7)


ROWS = {
    row.name: row
    for row in (
        Row("warm", "warm GET of the current deal", "warm", ("bare", *PEERS, *OURS), _of_bare_quart(0.70, rung=0.45)),
        Row("live", "nothing at all (`/health/live`)", "nothing", ("bare", SQLITE), _live),
        Row("alone", "warm GET, without Redis", "warm", ("bare", *ALONE), _of_bare_quart(0.35)),
        Row("select", "select, distinct people", "select", (*PEERS, *OURS), _select),
        Row("page", "deal page", "page", OURS, _page, connections=1),
        Row("list", "list page", "list", OURS, _page, connections=1),
        Row("board", "board", "board", OURS, _page, connections=1),
        Row("api-list", "`GET /api/deals/list?limit=20`", "api-list", OURS, _cpu(1.5), connections=1),
        Row("restore", "cold restore at 50/s", "restore", OURS, _within((99, 10)), rate=RATE),
        Row("select-50", "select at 50/s", "select", OURS, _within((50, 5), (99, 25)), rate=RATE),
        Row("burst", "16 selects at once", "select", OURS, _within((99, 100), only=(SQLITE,)), at_once=AT_ONCE),
        Row("two", "warm GET, one process → two", "warm", (SQLITE, "sqlite-2"), _two, connections=32),
        # The last one: a person keeps so many sign-ins, and these end those that the others use.
        Row("sign-in", "sign-in, beside argon2", "sign-in", OURS, _cpu(5), connections=2),
    )
}
