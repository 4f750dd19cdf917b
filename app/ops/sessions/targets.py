"""The product's targets and alert thresholds, each judged against the counts."""

from dataclasses import dataclass
from typing import Literal

from app.ops.statistics.traffic import Counts

State = Literal["ok", "warning", "failed", "unknown"]

RESTORE_RATE, RESTORE_RATE_ALERT = 95.0, 90.0
RESTORE_RATE_OF_POSSIBLE = 99.9
RESTORE_P99_MS, RESTORE_P99_ALERT_MS = 10.0, 50.0
SELECTION_ERRORS, SELECTION_ERRORS_ALERT = 1.0, 5.0
SESSIONS_A_USER, SESSIONS_A_USER_ALERT = 10.0, 100.0


@dataclass(frozen=True)
class Target:
    """`state`: ok within `target`, warning beyond it, failed beyond `alert`; unknown where nothing was counted."""

    name: str
    value: float | None
    unit: str
    target: float
    alert: float | None
    wants: Literal["at least", "below"]
    state: State


def at_least(name: str, value: float | None, target: float, alert: float | None, unit: str = "%") -> Target:
    state: State = "unknown" if value is None else "ok" if value >= target else "failed" if value < (alert or 0) else "warning"
    return Target(name, value, unit, target, alert, "at least", state)


def below(name: str, value: float | None, target: float, alert: float, unit: str) -> Target:
    state: State = "unknown" if value is None else "ok" if value < target else "failed" if value > alert else "warning"
    return Target(name, value, unit, target, alert, "below", state)


def judge(counts: Counts, sessions_a_user: float) -> list[Target]:
    return [
        at_least("Restores that succeed", counts.restore_rate, RESTORE_RATE, RESTORE_RATE_ALERT),
        at_least("Of what could be restored", counts.restore_rate_of_possible, RESTORE_RATE_OF_POSSIBLE, RESTORE_RATE_ALERT),
        below("Restore time, p99", counts.restore_quantile_ms(0.99), RESTORE_P99_MS, RESTORE_P99_ALERT_MS, "ms"),
        below("Selections refused", counts.selection_errors, SELECTION_ERRORS, SELECTION_ERRORS_ALERT, "%"),
        below("Sessions a user", sessions_a_user, SESSIONS_A_USER, SESSIONS_A_USER_ALERT, ""),
    ]
