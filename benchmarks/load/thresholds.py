"""What a server must keep to under load, by its own figures and by what its visitors saw. Needs nothing but Python."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

RESTORE_SECONDS, RESTORE_SHARE = 0.01, 0.99
SELECTION_ERRORS = 0.01
SAMPLE = re.compile(r"^(holdfast_\w+)(\{[^}]*\})?\s+(\S+)", re.MULTILINE)


@dataclass
class Seen:
    """What the visitors counted. `lost_places`: who had chosen a deal, and was asked to choose one."""

    answers: int = 0
    selections: int = 0
    selection_errors: int = 0
    lost_places: int = 0


@dataclass(frozen=True)
class Verdict:
    """`figure` in words. Kept, too, where nothing happened that could have broken it; `figure` says so."""

    threshold: str
    figure: str
    kept: bool


Figures = dict[str, float]


def read_figures(text: str) -> Figures:
    """Prometheus' text by name and labels, as it writes them."""
    return {name + labels: float(value) for name, labels, value in SAMPLE.findall(text)}


def judge(seen: Seen, before: Figures | None, after: Figures | None) -> list[Verdict]:
    """`before` and `after` are the server's figures around the load; None where it would not tell them."""
    return [_answered(seen), _restores(before, after), _selections(seen), _places(seen)]


def connections_refused(before: Figures | None, after: Figures | None) -> int:
    """How many the server closed by its limits on connections meanwhile."""
    return int(sum(value for name, value in _grown(before or {}, after or {}).items() if name.startswith("holdfast_connections_refused")))


def _answered(seen: Seen) -> Verdict:
    return Verdict("the server answers", f"{seen.answers} answers", seen.answers > 0)


def _restores(before: Figures | None, after: Figures | None) -> Verdict:
    threshold = f"restore p99 < {1000 * RESTORE_SECONDS:g} ms, by the server's own figures"
    if before is None or after is None:
        return Verdict(threshold, "/metrics cannot be read: give METRICS_TOKEN", kept=False)
    grown = _grown(before, after)
    count = grown.get("holdfast_restore_seconds_count", 0)
    if not count:
        return Verdict(threshold, "no restore was needed", kept=True)
    within = grown.get(f'holdfast_restore_seconds_bucket{{le="{RESTORE_SECONDS}"}}', 0)
    figure = f"{within:.0f} of {count:.0f} within {1000 * RESTORE_SECONDS:g} ms"
    return Verdict(threshold, figure, within / count >= RESTORE_SHARE)


def _selections(seen: Seen) -> Verdict:
    errors = seen.selection_errors / seen.selections if seen.selections else 0
    return Verdict("selection errors < 1 %", f"{seen.selection_errors} of {seen.selections}", errors < SELECTION_ERRORS)


def _places(seen: Seen) -> Verdict:
    return Verdict("nobody who chose a deal is asked to choose one", f"{seen.lost_places} were", seen.lost_places == 0)


def _grown(before: Mapping[str, float], after: Mapping[str, float]) -> Figures:
    return {name: value - before.get(name, 0) for name, value in after.items()}
