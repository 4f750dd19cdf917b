"""Checks what clients recorded against what is promised (docs/sessions.md), without a look into the servers.

Of every answer it asks which writes it could have come from: those that began before the answer ended and that nothing had
replaced for certain before it began. An unknown outcome may have taken effect or not, and late; a failed one has none.

I1 durability · I2 read your writes · I3 monotonic reads · I4 no thin air · I5 no ghost · I6 no leak · I7 intent · I8 no 5xx while
SQL serves · I9 no request over three seconds · I10 health tells the truth within ten, both ways.

People in a history always may see two deals or more, so that none is opened for being the only one.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["login", "logout", "select", "clear", "current", "revoke", "grant", "delete", "me", "health"]

# How long a request whose answer never came may still go on inside a server: longer than any transaction may take.
UNKNOWN_LASTS = 10.0
# While Redis fails or has just failed, other browsers may be shown the old for as long as a server may not look at the flag.
STALE_SECONDS = 1.0
# After a fault: until every breaker is closed again and every server has looked.
AFTERMATH = 5.0
MAX_SECONDS = 3.0
HEALTH_SECONDS = 10.0


@dataclass(frozen=True)
class Operation:
    """One request as its client saw it. `browser` is one login's cookies, from its login to its logout."""

    kind: Kind
    start: float
    end: float
    browser: str
    user: int
    outcome: Literal["ok", "failed", "unknown"] = "ok"
    server: int = 0
    status: int = 200  # 0: no answer
    deal: int | None = None  # which one a select, revoke, grant or delete is about
    target: int | None = None  # whose access a revoke or grant is about
    value: int | None = None  # the deal that the answer to a login or current shows
    shown_user: int | None = None  # whom the answer is about
    redis_serves: bool = False  # what a health answer says

    @property
    def latest(self) -> float:
        """When its effect is there, if it has any."""
        return self.end + (UNKNOWN_LASTS if self.outcome == "unknown" else 0)

    def __str__(self) -> str:
        about = "".join(f" {name}={each}" for name, each in (("deal", self.deal), ("of", self.target), ("shows", self.value)) if each)
        return f"[{self.start:.3f}-{self.end:.3f}] {self.browser}@{self.server} {self.kind}{about} -> {self.status} {self.outcome}"


@dataclass(frozen=True)
class Fault:
    """`machine`: nothing was broken, but what needs neither Redis nor SQL was slow as well, so figures of time mean little."""

    what: Literal["redis", "web", "sql", "machine"]
    start: float
    end: float
    name: str = ""


@dataclass
class History:
    """`deals` are those of each person's organisation, `stale_seconds` the poll interval of the flag and some patience."""

    operations: list[Operation] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    deals: Mapping[int, frozenset[int]] = field(default_factory=dict)
    stale_seconds: float = STALE_SECONDS
    longest_seconds: float = MAX_SECONDS
    health_seconds: float = HEALTH_SECONDS

    def is_disturbed(self, start: float, end: float, *, by: tuple[str, ...] = ("redis", "web", "sql", "machine")) -> bool:
        return any(fault.what in by and fault.start <= end and fault.end + AFTERMATH >= start for fault in self.faults)


@dataclass(frozen=True)
class _Write:
    """What may have put `value` there, at some time between `start` and `latest`."""

    value: int | None
    start: float
    latest: float
    by: Operation
    guessed: bool = False  # a restore that nobody saw


class _Certain:
    """Writes that are over for certain: which of them lies latest, of those seen by everybody before some time."""

    def __init__(self) -> None:
        self._writes: list[tuple[float, int, float, str, Operation]] = []
        self._newest: list[tuple[float, str, Operation]] | None = None

    def add(self, start: float, seen_by: float, invariant: str, by: Operation) -> None:
        insort(self._writes, (seen_by, len(self._writes), start, invariant, by))
        self._newest = None

    def newest_before(self, moment: float) -> tuple[float, str, Operation] | None:
        if self._newest is None:
            self._newest = []
            for _, _, start, invariant, by in self._writes:
                last = self._newest[-1] if self._newest else None
                self._newest.append(last if last and last[0] >= start else (start, invariant, by))
        position = bisect_left(self._writes, (moment,))
        return self._newest[position - 1] if position else None


class _Register:
    """One value over time: the deal of a session, or the deal a person comes back to."""

    def __init__(self) -> None:
        self.writes: list[_Write] = []
        self.certain = _Certain()
        self.certain_of: dict[int, _Certain] = defaultdict(_Certain)  # takes this one deal away

    def candidates(self, read: Operation) -> list[_Write]:
        return [write for write in self.writes if write.start <= read.end and self.replaced_by(write, read) is None]

    def replaced_by(self, write: _Write, read: Operation) -> tuple[str, Operation] | None:
        for certain in (self.certain, self.certain_of.get(write.value) if write.value else None):
            newest = certain.newest_before(read.start) if certain else None
            if newest and newest[0] > write.latest:
                return newest[1], newest[2]
        return None


def check(history: History) -> list[str]:
    """Every broken promise, in words that begin with its number."""
    return [*_check_each(history), *_check_health(history), *_Values(history).check()]


def _check_each(history: History) -> Iterator[str]:
    """What one answer is enough for."""
    for op in history.operations:
        if op.shown_user is not None and op.shown_user != op.user:
            yield f"I6 leak: answered as if user {op.shown_user} had asked: {op}"
        if op.value is not None and op.value not in history.deals.get(op.user, frozenset((op.value,))):
            yield f"I6 leak: a deal of another organisation: {op}"
        if (op.status >= 500 or op.status == 0) and op.kind != "health":
            excuses = ("sql", "machine") if op.status else ("sql", "web", "machine")
            if not history.is_disturbed(op.start, op.end, by=excuses):
                yield f"I8 {f'a {op.status}' if op.status else 'no answer'} while SQL served: {op}"
        if op.end - op.start > history.longest_seconds and not history.is_disturbed(op.start, op.end, by=("machine",)):
            yield f"I9 took {op.end - op.start:.1f} s: {op}"


def _check_health(history: History) -> Iterator[str]:
    began = min([op.start for op in history.operations] + [fault.start for fault in history.faults], default=0)
    outages = [fault for fault in history.faults if fault.what == "redis" and fault.end - fault.start > history.health_seconds]
    for op in history.operations:
        if op.kind != "health" or op.outcome != "ok":
            continue
        away = any(fault.start + history.health_seconds < op.start and op.end < fault.end for fault in outages)
        undisturbed = not any(fault.start <= op.end and fault.end + history.health_seconds >= op.start for fault in history.faults)
        if away and op.redis_serves and not history.is_disturbed(op.start - history.health_seconds, op.end, by=("machine",)):
            yield f"I10 health says that Redis serves, long after it went: {op}"
        # A machine too busy to wait a quarter of a second for Redis leaves it for a moment, and health truly says so.
        lasting = began <= op.start - history.health_seconds and not any(
            other.kind == "health"
            and other.server == op.server
            and other.redis_serves
            and op.start - history.health_seconds <= other.start < op.start
            for other in history.operations
        )
        if undisturbed and lasting and not op.redis_serves:
            yield f"I10 health says that Redis does not serve, long after it was back: {op}"


class _Values:
    """The deal that each answer shows."""

    def __init__(self, history: History) -> None:
        self.history = history
        # What failed took no effect.
        self.effective = sorted((op for op in history.operations if op.outcome != "failed"), key=lambda op: op.start)
        self.clears = [op for op in self.effective if op.kind == "clear"]
        self.taken = [op for op in self.effective if op.kind in ("revoke", "delete")]
        self.granted = [op for op in self.effective if op.kind == "grant"]
        self.logouts = [op for op in self.effective if op.kind == "logout"]
        self.of_browser: dict[str, list[Operation]] = defaultdict(list)
        for op in sorted(history.operations, key=lambda op: op.start):
            if op.kind != "health":
                self.of_browser[op.browser].append(op)
        self.users = {op.user for op in history.operations}
        self.pointers = {user: self._pointer_of(user) for user in self.users}

    def check(self) -> Iterator[str]:
        for op in self.effective:
            if op.kind == "login" and op.outcome == "ok":
                yield from self._check_login(op)
        for operations in self.of_browser.values():
            yield from self._check_browser(operations)

    def _pointer_of(self, user: int) -> _Register:
        """The person's last deal, which SQL alone keeps: nobody sees it late."""
        register = _Register()
        for op in self.effective:
            if op.user == user and op.kind in ("select", "clear"):
                register.writes.append(_Write(op.deal, op.start, op.latest, op))
                if op.outcome == "ok":
                    register.certain.add(op.start, op.end, "I1" if op.kind == "select" else "I7", op)
        self._take_away(register, user, late=False)
        first = Operation("clear", float("-inf"), float("-inf"), "nobody", user)
        register.writes.append(_Write(None, first.start, first.end, first))
        return register

    def _take_away(self, register: _Register, user: int, *, late: bool) -> None:
        for op in self.taken:
            if op.deal is not None and (op.kind == "delete" or op.target == user):
                register.writes.append(_Write(None, op.start, op.latest, op))
                if op.outcome == "ok":
                    register.certain_of[op.deal].add(op.start, self._seen_by(op) if late else op.end, "I5", op)

    def _seen_by(self, op: Operation) -> float:
        """When no other browser can be shown the old any more."""
        disturbed = self.history.is_disturbed(op.start, op.end + self.history.stale_seconds)
        return op.end + (self.history.stale_seconds if disturbed else 0)

    def _check_login(self, op: Operation) -> Iterator[str]:
        pointer = self.pointers[op.user]
        if wrong := self._ghost(op) or _wrong(op, pointer, pointer.candidates(op)):
            is_forgotten = wrong.startswith("I1") and op.value is None
            has_left = any(each.user == op.user and each.end < op.start for each in self.logouts)
            yield wrong.replace("I1", "I7 a logout forgot the deal;", 1) if is_forgotten and has_left else wrong

    def _check_browser(self, operations: list[Operation]) -> Iterator[str]:
        login = next((op for op in operations if op.kind == "login" and op.outcome == "ok"), None)
        if login is None:
            return
        register = self._session_of(login, operations)
        left = [op for op in operations if op.kind == "logout" and op.outcome != "failed"]
        for op in operations:
            if op.start < login.end:
                continue
            gone = next((each for each in left if each.outcome == "ok" and self._seen_by(each) < op.start), None)
            if op.kind in ("current", "me") and op.status == 401 and not any(each.start <= op.end for each in left):
                yield f"I1 the login is lost: {op}"
            if op.outcome == "ok" and op.kind in ("current", "me", "select", "clear") and gone:
                yield f"I5 a ghost: {op} after {gone}"
                continue
            candidates = register.candidates(op)
            if any(write.value is None for write in candidates):
                candidates += self._add_restores(register, op)
            if op.kind == "current" and op.outcome == "ok":
                if wrong := self._ghost(op) or _wrong(op, register, candidates):
                    yield wrong
                elif seen := [write for write in candidates if write.value == op.value and not write.guessed]:
                    register.certain.add(min(write.start for write in seen), op.end, "I3", op)

    def _session_of(self, login: Operation, operations: Iterable[Operation]) -> _Register:
        register = _Register()
        register.writes.append(_Write(login.value, login.start, login.end, login))
        register.certain.add(login.start, login.end, "I2", login)
        for op in operations:
            if op.kind == "select" and op.outcome != "failed":
                register.writes.append(_Write(op.deal, op.start, op.latest, op))
                if op.outcome == "ok":
                    register.certain.add(op.start, op.end, "I2", op)
        for op in self.clears:
            if op.user == login.user:
                register.writes.append(_Write(None, op.start, op.latest, op))
                if op.outcome == "ok":
                    register.certain.add(op.start, op.end if op.browser == login.browser else self._seen_by(op), "I7", op)
        self._take_away(register, login.user, late=True)
        return register

    def _add_restores(self, register: _Register, op: Operation) -> list[_Write]:
        """A session without a deal may be given the person's last one by any request."""
        values = {write.value for write in self.pointers[op.user].candidates(op)} - {None}
        known = {write.value for write in register.candidates(op)}
        restores = [_Write(value, op.start, op.latest, op, guessed=True) for value in values - known]
        register.writes += restores
        return restores

    def _ghost(self, read: Operation) -> str | None:
        for taken in self.taken if read.value is not None else ():
            if taken.outcome != "ok" or taken.deal != read.value or self._seen_by(taken) >= read.start:
                continue
            if taken.kind == "delete" or (taken.kind == "revoke" and taken.target == read.user):
                given = (op for op in self.granted if (op.deal, op.target) == (read.value, read.user))
                if not any(op.latest > taken.start and op.start < read.end for op in given):
                    return f"I5 a ghost: {read} after {taken}"
        return None


def _wrong(read: Operation, register: _Register, candidates: list[_Write]) -> str | None:
    """What is wrong with the value of an answer, if anything."""
    if any(write.value == read.value for write in candidates):
        return None
    unknown = next((write.by for write in candidates if write.by.outcome == "unknown"), None)
    if read.value is None and unknown:
        return f"I7 an unknown outcome ended as no deal at all: {read} after {unknown}"
    replaced = [write for write in register.writes if write.value == read.value and write.start <= read.end]
    if not replaced:
        if read.value is not None:
            return f"I4 out of thin air: {read}"
        return f"I2 the deal is lost: {read}"
    invariant, by = register.replaced_by(max(replaced, key=lambda write: write.latest), read) or ("I4", read)
    words = {
        "I1": "what was selected is lost",
        "I2": "one's own write is not seen",
        "I3": "older than what was shown before",
        "I5": "a ghost",
        "I7": "a clear did not last",
    }
    return f"{invariant} {words.get(invariant, '')}: {read} after {by}"
