"""What the processes of a site told of their steps, sorted by request and by login, and what an action of the model is."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.model.session_protocol import Protocol, State

EVER = float("inf")
PROTOCOL = Protocol(fine=True)
Next = Callable[[State], Iterable[State]]


class Told(NamedTuple):
    at: int
    process: int
    task: int
    request: int
    parent: int
    what: str
    about: tuple[Any, ...]


@dataclass(eq=False)
class Action:
    """Something that took place after `begin` and before `end`; never, perhaps, where it ends `EVER`."""

    begin: float
    end: float
    what: str
    then: Next
    request: tuple[int, int] | None = None  # in whose transaction


@dataclass
class Traces:
    """Everything that was told, by login."""

    told: list[Told]
    lossy: bool = False
    logins: dict[str, int] = field(default_factory=dict)  # token -> login
    tokens: dict[str, int] = field(default_factory=dict)  # token -> how many its login had before it
    requests: dict[tuple[int, int], list[Told]] = field(default_factory=lambda: defaultdict(list))
    of_login: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    births: dict[int, Told] = field(default_factory=dict)
    expiries: list[tuple[Told, Told]] = field(default_factory=list)

    @classmethod
    def of(cls, lines: Iterable[Sequence[Any]], *, lossy: bool = False) -> "Traces":
        traces = cls([Told(line[0], line[1], line[2], line[3], line[4], line[5], tuple(line[6:])) for line in lines], lossy)
        for told in traces.told:
            if told.what == "inserted":
                token, login, _ = told.about
                traces.logins[token], traces.tokens[token], traces.births[login] = login, 0, told
            elif told.what == "rotated" and told.about[2] and told.about[0] in traces.logins:
                old, new, _ = told.about
                traces.logins[new], traces.tokens[new] = traces.logins[old], traces.tokens[old] + 1
            elif told.what == "expires":
                began = told
            elif told.what == "expired":
                traces.expiries.append((began, told))
            if told.request:
                traces.requests[told.process, told.request].append(told)
        for name, steps in traces.requests.items():
            for login in {traces.logins[token] for token in _tokens_of(steps) if token in traces.logins}:
                traces.of_login[login].append(name)
        return traces


def _tokens_of(steps: Sequence[Told]) -> set[str]:
    tokens: set[str] = set()
    for step in steps:
        if step.what in ("read", "write"):
            tokens.add(step.about[0])
        elif step.what in ("bulk", "asks for holds", "changed"):
            tokens.update(step.about[0])
    return tokens
