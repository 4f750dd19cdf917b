"""Holds what real processes did against the model: every step must be one that `Protocol` can take in the state it was taken in.

    python -m tests.model.conformance DIRECTORY [--lossy]

The recorded steps (recorder.py) of one login and of the flag become actions, each somewhere between the moment its request knows
to be before it and the one it knows to be after it. The search tries every order these allow until one is found that the model can
follow from the login's beginning to its last step; where there is none, either the model or the code is wrong. A call that got no answer
may have been carried out at any time, or never. Records and leases may be gone at any time, other things only where Redis is `lossy`.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import takewhile
from pathlib import Path
from typing import Any

from tests.model.flag_actions import FlagHistory
from tests.model.recorder import read_steps
from tests.model.request_actions import Changing, Reading, Writing
from tests.model.session_protocol import Broken, Flag, Request, State
from tests.model.told import EVER, PROTOCOL, Action, Traces

MANY = 10**9
# Nanoseconds, longer than a hold lives.
GONE_AFTER = 12 * 10**9
# Of one login. Beyond it nobody knows, which is no proof.
MOST_TRIED = 20_000
# For all logins of a site: a test waits for it.
SECONDS = 20


@dataclass
class Verdict:
    """Of one login."""

    login: int
    actions: int
    tried: int
    stuck_at: str = ""
    states: Sequence[State] = ()
    is_open: bool = False  # there were too many orders to try them all

    def __str__(self) -> str:
        return f"login {self.login}: {self.actions} steps, {self.tried} tried" + (
            f"; the model cannot: {self.stuck_at}" * bool(self.stuck_at)
        )


def _expire(state: State) -> Iterator[State]:
    yield PROTOCOL.expire(state)._replace(keys=())


class Course:
    """The course of one login, from its beginning."""

    def __init__(self, traces: Traces, flags: FlagHistory, order: Sequence[Action], login: int) -> None:
        self.traces = traces
        self.flags = flags
        self.login = login
        self.born = traces.births[login]
        self.names = traces.of_login[login]
        self.slots = self._share_slots()
        self.actions: list[Action] = []
        self.kinds = dict.fromkeys(self.names, "read")
        for name in self.names:
            self._add(name)
        for began, told in traces.expiries:
            if any(traces.logins.get(token) == login for token in told.about[0]):
                self.actions.append(Action(began.at, told.at, "the session expires, and its keys are taken away", _expire))
        last = max((action.end for action in self.actions if action.end < EVER), default=float(self.born.at))
        self.first = self._first_state(order, last)

    def _share_slots(self) -> dict[tuple[int, int], int]:
        """Which request of the model's state each is: those of long ago make room, once nothing of them can be left in Redis."""
        slots: dict[tuple[int, int], int] = {}
        free: list[tuple[float, int]] = []
        for name in sorted(self.names, key=lambda name: self.traces.requests[name][0].at):
            steps = self.traces.requests[name]
            slots[name] = heappop(free)[1] if free and free[0][0] < steps[0].at else len(set(slots.values()))
            whats = {step.what for step in steps}
            if whats & {"answered", "served", "refilled"} and not whats & {"hold failed", "publish failed"}:
                heappush(free, (steps[-1].at + GONE_AFTER, slots[name]))
        return slots

    def _first_state(self, order: Sequence[Action], last: float) -> State:
        """What became of the flag before this login began, as far as that is certain, has happened; the rest is part of its course."""
        # A flip in the transaction of a request is a part of its commit, where that changes this login.
        mine = {name for name, kind in self.kinds.items() if kind not in ("read", "spare")}
        state = nothing_yet(self.flags, lossy=self.traces.lossy)
        before = list(takewhile(lambda action: action.end < self.born.at, order))
        for action in before:
            state = next(iter(action.then(state)))
        for action in self.flags.actions:
            if action not in before and action.begin <= last and action.request not in mine:
                self.actions.append(action)
        requests = (Request("read", 0, "done"),) * (max(self.slots.values(), default=-1) + 1)
        version = self.born.about[2]
        return state._replace(version=version, newest=version, acknowledged=version, is_alive=True, requests=requests)

    def _add(self, name: tuple[int, int]) -> None:
        steps, i = self.traces.requests[name], self.slots[name]
        if steps[0].what == "read":
            Reading(self, steps, i).add()
        elif steps[0].what == "write":
            Writing(self, steps, i).add()
        else:
            Changing(self, steps, i).add()

    def check(self) -> Verdict:
        return _search(self.login, self.first, self.actions)[0]


Trail = tuple[Any, Action] | None  # the way there: what came before, and the last


def _search(login: int, first: State, actions: list[Action]) -> tuple[Verdict, Trail]:
    """Depth first, the earliest end first, and nothing twice."""
    certain = sorted((action for action in actions if action.end < EVER), key=lambda action: (action.end, action.begin))
    perhaps = sorted((action for action in actions if action.end == EVER), key=lambda action: action.begin)
    widest = max((action.end - action.begin for action in certain), default=0)
    tried: set[int] = set()  # by their hashes: they are many, and large
    # How many are done in order, which after these, which of those that may never be.
    stack: list[tuple[tuple[int, int, int, State], Trail]] = [((0, 0, 0, first), None)]
    furthest, stuck = -1, first
    while stack:
        (done, beyond, maybe, state), trail = stack.pop()
        if done == len(certain):
            return Verdict(login, len(certain), len(tried)), trail
        if done > furthest:
            furthest, stuck = done, state
        limit = certain[done].end
        nexts: list[tuple[tuple[int, int, int, State], Trail]] = []
        for position in range(done, len(certain)):
            action = certain[position]
            if action.end - widest > limit:
                break
            if action.begin > limit or beyond >> (position - done) & 1:
                continue
            now_done, now_beyond = done, beyond | 1 << (position - done)
            while now_beyond & 1:
                now_done, now_beyond = now_done + 1, now_beyond >> 1
            nexts += [((now_done, now_beyond, maybe, after), (trail, action)) for after in _follow(action, state)]
        for position, action in enumerate(perhaps):
            if action.begin > limit:
                break
            if not maybe >> position & 1:
                nexts += [((done, beyond, maybe | 1 << position, after), (trail, action)) for after in _follow(action, state)]
        for each in reversed(nexts):
            if (number := hash(each[0])) not in tried:
                tried.add(number)
                stack.append(each)
        if len(tried) > MOST_TRIED:
            return Verdict(login, len(certain), len(tried), is_open=True), None
    return Verdict(login, len(certain), len(tried), f"step {furthest}, {certain[furthest].what}", [stuck]), None


def _follow(action: Action, state: State) -> Iterator[State]:
    try:
        yield from action.then(state)
    except Broken:
        return


def nothing_yet(flags: FlagHistory, *, lossy: bool) -> State:
    """As the migration leaves it: no session, nothing in Redis, and a flag that nobody has read."""
    nothing, count = Flag("sql", 0, 0), len(flags.processes)
    forgets = MANY if lossy else 0
    state = State(0, -1, 0, (), 1, 0, nothing, (nothing,) * count, 0, 0, 0, False, (), MANY, forgets, 0, MANY, 0, None)
    return state._replace(newest=0, seen=(None,) * count, late_calls=MANY, is_alive=False)


def check(traces: Traces) -> Iterator[Verdict]:
    """First of what became of the flag, which is no login's, and then of each login."""
    flags = FlagHistory(traces)
    verdict, trail = _search(0, nothing_yet(flags, lossy=traces.lossy), flags.actions)
    yield verdict
    order: list[Action] = []
    while trail:
        trail, action = trail
        order.insert(0, action)
    for login in traces.births:
        yield Course(traces, flags, order, login).check()


def find_strays(directory: Path, *, lossy: bool) -> list[Verdict]:
    """The logins whose course the model certainly cannot follow, of those that there is time for."""
    strays, began = [], time.monotonic()
    for verdict in check(Traces.of(read_steps(directory), lossy=lossy)):
        strays += [verdict] if verdict.stuck_at else []
        if time.monotonic() - began > SECONDS:
            break
    return strays


def main(arguments: Sequence[str]) -> int:
    traces = Traces.of(read_steps(Path(arguments[0])), lossy="--lossy" in arguments)
    verdicts = list(check(traces))
    for verdict in verdicts:
        if verdict.stuck_at:
            sys.stdout.write(f"{verdict}\n")
    unclear = sum(verdict.is_open for verdict in verdicts)
    wrong = sum(bool(verdict.stuck_at) for verdict in verdicts)
    steps = sum(verdict.actions for verdict in verdicts)
    sys.stdout.write(
        f"{len(verdicts)} logins, {steps} steps: {len(verdicts) - wrong - unclear} as the model can, {wrong} not, {unclear} unclear\n"
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
