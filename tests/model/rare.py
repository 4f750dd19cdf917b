"""What happens rarely, counted in the steps that processes told: a chaos run that never met one of these has proven little of it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tests.model.told import EVER, Told, Traces

RARE = (
    "a writer lost its hold",
    "the fence held a write back",
    "a reader lost its lease",
    "a publish came late",
    "the flag fell with writers under way",
    "an epoch was begun twice",
)


def count_rare(lines: Iterable[Sequence[Any]]) -> dict[str, int]:
    """How often each of `RARE` happened."""
    traces = Traces.of(lines)
    moves = sorted(told.at for told in traces.told if told.what in ("flips", "began an epoch"))
    seen = Counter(dict.fromkeys(RARE, 0))
    under_way: list[tuple[int, float]] = []
    claims: dict[tuple[int, int], Sequence[Any]] = {}
    for steps in traces.requests.values():
        at = {told.what: told for told in steps}
        if "claims" in at:
            end = at["committed"].at if "committed" in at else EVER
            if "commits" in at:
                under_way.append((at["claims"].at, end))
            seen["the fence held a write back"] += _was_held_back(at, claims)
            claims[at["claims"].process, at["claims"].task] = at["claims"].about
            if "starts over" not in at:
                claims.pop((at["claims"].process, at["claims"].task))
        for told in steps:
            seen["a writer lost its hold"] += told.what == "published" and not told.about[1]
            seen["a reader lost its lease"] += told.what == "refilled" and not told.about[0]
            is_publish = told.what in ("published", "dropped", "publish failed")
            is_late = told.what == "publish failed" or (is_publish and any(at["claims"].at < move < told.at for move in moves))
            seen["a publish came late"] += is_late
    for told in traces.told:
        if told.what == "flips":
            mine = traces.requests.get((told.process, told.request), [told])
            others = [span for span in under_way if span[0] < told.at < span[1] and span[0] not in {each.at for each in mine}]
            seen["the flag fell with writers under way"] += bool(others)
        seen["an epoch was begun twice"] += told.what == "began an epoch" and not told.about[1]
    return dict(seen)


def _was_held_back(at: dict[str, Told], claims: dict[tuple[int, int], Sequence[Any]]) -> bool:
    """It started over, and by now its process knows of another flag."""
    before = claims.get((at["claims"].process, at["claims"].task))
    return before is not None and list(before[:2]) != list(at["claims"].about[:2])
