"""What an outcome is called, and how bad it is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from .visitor import NOT_OFFERED, Answer

OLD, NEW = "0", "1"


class Verdict(IntEnum):
    """From good to bad; a scenario is as bad as its worst cell."""

    OK = 0
    NOT_RUN = 1
    NOT_OFFERED = 2
    # An error or a hang: it does not work, and says so.
    DOWN = 3
    # Signed out, or what was acknowledged is no longer there.
    LOST = 4
    # A stale value, a session that ought to be dead, somebody else's session.
    UNSAFE = 5

    @property
    def word(self) -> str:
        return self.name.lower().replace("_", " ")

    @classmethod
    def of(cls, word: str) -> "Verdict":
        return cls[word.upper().replace(" ", "_")]


@dataclass(frozen=True)
class Cell:
    heading: str
    outcome: str
    verdict: Verdict
    answers: Sequence[Answer] = field(default=())


def judge_read(heading: str, reads: list[Answer], expected: str) -> Cell:
    """Reads of a session that nobody has changed since `expected` was acknowledged."""
    if bad := [each for each in reads if each.served and each.value not in (expected, None)]:
        return Cell(heading, f"STALE{_share(bad, reads)}", Verdict.UNSAFE, reads)
    if bad := [each for each in reads if each.says_signed_out]:
        return Cell(heading, f"signed out{_share(bad, reads)}", Verdict.LOST, reads)
    if bad := [each for each in reads if each.served and each.value is None]:
        return Cell(heading, f"value gone{_share(bad, reads)}", Verdict.LOST, reads)
    if bad := [each for each in reads if not each.well]:
        return Cell(heading, f"{bad[0].ending}{_share(bad, reads)}", Verdict.DOWN, reads)
    return Cell(heading, "works", Verdict.OK, reads)


def judge_login(heading: str, login: Answer, pages: list[Answer]) -> Cell:
    answers = [login, *pages]
    if not login.well:
        return Cell(heading, login.ending, Verdict.DOWN, answers)
    if bad := [each for each in pages if each.says_signed_out]:
        return Cell(heading, f"works, then signed out{_share(bad, pages)}", Verdict.LOST, answers)
    if bad := [each for each in pages if not each.well]:
        return Cell(heading, f"works, then {bad[0].ending}{_share(bad, pages)}", Verdict.DOWN, answers)
    return Cell(heading, "works", Verdict.OK, answers)


def judge_write(heading: str, write: Answer, reads: list[Answer], *, afterwards: bool = False) -> Cell:
    """Whether the reads show what the answer to the write said. A write that was refused may be there or not."""
    answers = [write, *reads]
    if not write.served and not afterwards:
        return Cell(heading, write.ending, Verdict.DOWN, answers)
    if not write.served:
        cell = judge_read(heading, [each for each in reads if not (each.served and each.value == NEW)], OLD)
        if cell.verdict > Verdict.OK:
            return Cell(heading, cell.outcome, cell.verdict, answers)
        return Cell(heading, "as told: refused", Verdict.OK, answers)
    cell = judge_read(heading, reads, NEW)
    if cell.verdict > Verdict.OK:
        return Cell(heading, cell.outcome, cell.verdict, answers)
    if afterwards:
        return Cell(heading, "the new one", Verdict.OK, answers)
    return Cell(heading, write.ending, Verdict.OK if write.well else Verdict.DOWN, answers)


def judge_end(heading: str, end: Answer, replays: list[Answer], *, afterwards: bool = False) -> Cell:
    """Whether sessions that a logout or a revocation has ended are dead, wherever their cookies are used."""
    answers = [end, *replays]
    alive = [each for each in replays if each.served]
    if end.status in NOT_OFFERED:
        return Cell(heading, "not offered", Verdict.NOT_OFFERED, answers)
    if not end.served and not afterwards:
        return Cell(heading, end.ending, Verdict.DOWN, answers)
    if not end.served:
        return Cell(heading, "as told: alive" if alive else "dead", Verdict.OK, answers)
    if alive:
        return Cell(heading, f"REVIVED{_share(alive, replays)}", Verdict.UNSAFE, answers)
    if failed := [each for each in replays if not each.says_signed_out]:
        return Cell(heading, f"dead, but {failed[0].ending}{_share(failed, replays)}", Verdict.DOWN, answers)
    if afterwards:
        return Cell(heading, "dead", Verdict.OK, answers)
    return Cell(heading, end.ending, Verdict.OK if end.well else Verdict.DOWN, answers)


def judge_return(seconds: float | None, *, uses_redis: bool) -> Cell:
    if not uses_redis:
        return Cell("Redis in use again", "not used", Verdict.OK)
    if seconds is None:
        return Cell("Redis in use again", "not seen", Verdict.DOWN)
    return Cell("Redis in use again", "at once" if seconds < 1 else f"{seconds:.1f} s", Verdict.OK)


def judge_trials(heading: str, what: str, broken: int, refused: int, trials: int, verdict: Verdict, answers: Sequence[Answer]) -> Cell:
    """A race that was run `trials` times."""
    if broken:
        return Cell(heading, f"{what} in {broken} of {trials}", verdict, answers)
    if refused:
        return Cell(heading, f"{refused} of {trials} refused", Verdict.DOWN, answers)
    return Cell(heading, f"holds {trials} times", Verdict.OK, answers)


def worst(cells: Sequence[Cell]) -> Verdict:
    return max((cell.verdict for cell in cells), default=Verdict.NOT_RUN)


def _share(some: Sequence[Answer], answers: Sequence[Answer]) -> str:
    return f" ({len(some)} of {len(answers)} reads)" if len(some) != len(answers) and len(answers) > 1 else ""
