"""A second judge of the histories, beside the invariants of `history.py`: is there one order in which a session could have done it all?

The search is that of Wing and Gong as Lowe made it: an operation takes its place in the order only when its answer has to be explained,
and what two ways have in common is looked at once. One register for each login: the deal that its session is on. It must be
linearizable, but for what docs/sessions.md promises less, and exactly that:

- A session without a deal may be given what its person selected last, unless that was cleared or taken away (a restore); in memory only
  if it cannot be written.
- What *another* browser took away (a clear, a revoke, a delete), or a sign-out, may be seen `stale_seconds` late after a fault.
- What had no answer (`info`) has happened or not, within `UNKNOWN_LASTS` of its end.

`write_jsonl` writes a history as Jepsen's tools read it (docs/resilience.md), to have it judged elsewhere.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TextIO

from tests.resilience.history import UNKNOWN_LASTS, History, Operation

GONE = -1  # what a session is on after a sign-out
Deal = int | None


@dataclass(frozen=True)
class Call:
    """An operation on a register. `after` says which values it may leave, given the one it finds; none: it cannot come here."""

    invoked: float
    returned: float
    after: Callable[[Deal], tuple[Deal, ...]]
    about: str
    must: bool = True  # False: nobody knows whether it happened


def find_impossible(calls: Iterable[Call]) -> Call | None:
    """The first call whose answer no order explains."""
    calls = list(calls)
    moments = sorted([(call.invoked, 0, i) for i, call in enumerate(calls)] + [(call.returned, 1, i) for i, call in enumerate(calls)])
    pending: set[int] = set()
    ways: set[tuple[Deal, frozenset[int]]] = {(None, frozenset())}  # the value, and which of those under way have happened
    for _, is_return, i in moments:
        if not is_return:
            pending.add(i)
            continue
        happened_by_now = _ways_to(i, calls, pending, ways)
        ways = happened_by_now if calls[i].must else ways | happened_by_now
        if not ways:
            return calls[i]
        pending.remove(i)
        ways = {(value, happened - {i}) for value, happened in ways}
    return None


def _ways_to(i: int, calls: list[Call], pending: set[int], ways: set[tuple[Deal, frozenset[int]]]) -> set[tuple[Deal, frozenset[int]]]:
    """Every way on in which call `i` has happened, and nothing more than it takes."""
    found, seen, left = set(), set(ways), list(ways)
    while left:
        value, happened = left.pop()
        if i in happened:
            found.add((value, happened))
            continue
        for other in pending - happened:
            for after in calls[other].after(value):
                way = (after, happened | {other})
                if way not in seen:
                    seen.add(way)
                    left.append(way)
    return found


def check_registers(history: History) -> list[str]:
    """What no order of the operations explains, one line for each login."""
    by_user: dict[int, list[Operation]] = defaultdict(list)
    for op in history.operations:
        by_user[op.user].append(op)
    broken = []
    for login in history.operations:
        if login.kind == "login" and login.outcome == "ok":
            impossible = find_impossible(_calls_of(login, by_user[login.user], history))
            if impossible:
                broken.append(f"L1 no order explains {impossible.about}")
    return broken


def _calls_of(login: Operation, of_user: list[Operation], history: History) -> Iterator[Call]:
    """The calls on the register of one login: its own, and what others did to all sessions of its person."""
    yield Call(login.start, login.end, lambda _: (login.value,), str(login))
    taken = [op for op in history.operations if op.kind == "delete" or (op.kind == "revoke" and op.target == login.user)]
    over = max(op.end for op in of_user if op.browser == login.browser)
    for op in [*(op for op in of_user if op.kind in ("select", "clear", "current", "logout", "me")), *taken]:
        mine = op.browser == login.browser
        concerns = mine or op.kind in ("clear", "revoke", "delete")
        if not concerns or op.latest < login.start or op.start > over or (mine and op.start < login.end):
            continue
        if mine and op.kind != "logout" and (op.kind == "me" or op.outcome != "ok"):  # whatever became of it, a restore comes before it
            restorable = _restorable(op, of_user, taken, history)
            went_on = UNKNOWN_LASTS if op.status in (0, 503) else 0
            yield Call(op.start, op.end + went_on, partial(_restored, restorable=restorable), str(op), must=False)
        if op.outcome == "failed" or op.kind == "me":
            continue
        after = _effect_of(op, of_user, taken, history)
        known = op.outcome == "ok"
        is_late = known and (not mine or op.kind == "logout")
        disturbed = is_late and history.is_disturbed(op.start, op.end + history.stale_seconds)
        returned = op.end + (history.stale_seconds if disturbed else 0) if known else op.end + UNKNOWN_LASTS
        yield Call(op.start, returned, after, str(op), must=known)


def _effect_of(op: Operation, of_user: list[Operation], taken: list[Operation], history: History) -> Callable[[Deal], tuple[Deal, ...]]:
    if op.kind == "logout":
        return lambda _: (GONE,)
    if op.kind == "select":
        return lambda value: () if value == GONE else (op.deal,)
    if op.kind == "clear":
        return lambda value: (value,) if value == GONE else (None,)
    if op.kind in ("revoke", "delete"):
        return lambda value: (None,) if value == op.deal else (value,)
    restorable = _restorable(op, of_user, taken, history)
    return lambda value: _shown(value, op.value, restorable)


def _restorable(read: Operation, of_user: list[Operation], taken: list[Operation], history: History) -> set[Deal]:
    """What the person's last deal, which SQL alone keeps, may be while `read` is answered."""
    chosen = [op for op in of_user if op.kind in ("select", "clear") and op.outcome != "failed"]
    newest = max((op.start for op in chosen if op.outcome == "ok" and op.end < read.start), default=float("-inf"))
    last = [op for op in chosen if op.start <= read.end and op.latest >= newest]
    granted = [op for op in history.operations if op.kind == "grant" and op.target == read.user and op.outcome != "failed"]
    gone = {
        op.deal
        for op in taken
        if op.outcome == "ok" and op.end < read.start
        if not any(each.deal == op.deal and op.start < each.latest and each.start < read.end for each in granted)
    }
    return {op.deal for op in last if op.kind == "select"} - gone


def _restored(value: Deal, restorable: set[Deal]) -> tuple[Deal, ...]:
    return tuple(restorable) if value is None else ()


def _shown(value: Deal, shows: Deal, restorable: set[Deal]) -> tuple[Deal, ...]:
    if value is None and shows in restorable:
        return (shows, None)  # restored, perhaps in memory only
    return (value,) if value == shows else ()


def write_jsonl(history: History, file: TextIO) -> None:
    """Two lines an operation: `invoke`, then `ok`, `fail` or `info`. A process has one operation under way, and none after `info`."""
    began = min((op.start for op in history.operations), default=0.0)
    free_at: list[float] = []
    lines: list[tuple[float, int, dict[str, Any]]] = []
    for op in sorted(history.operations, key=lambda op: op.start):
        process = next((i for i, end in enumerate(free_at) if end < op.start), len(free_at))
        free_at[process:] = [op.end if op.outcome != "unknown" else float("inf"), *free_at[process + 1 :]]
        about = {"process": process, "f": op.kind, "key": op.browser, "user": op.user, "server": op.server, "target": op.target}
        asked = {"type": "invoke", "value": op.deal}
        kind = {"ok": "ok", "failed": "fail", "unknown": "info"}[op.outcome]
        answered = {"type": kind, "value": op.deal if op.deal is not None else op.value, "status": op.status}
        lines.append((op.start, 0, about | asked | {"time": round((op.start - began) * 1e9)}))
        lines.append((op.end, 1, about | answered | {"time": round((op.end - began) * 1e9)}))
    for _, _, line in sorted(lines, key=lambda line: line[:2]):
        file.write(json.dumps(line) + "\n")
