"""The result of an import, for people and programs."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from app.core.errors import BadRequest

# So that the report of a hundred thousand rows fits in memory; more are only counted. Refusals are never dropped.
MAX_WARNINGS = 1000

ImportOutcome = Literal["imported", "dry_run", "refused"]


@dataclass(frozen=True, slots=True)
class RowRefusal:
    """A row that cannot become a deal, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class RowWarning:
    """A problem in a row that is imported anyway. Line 0 is the file itself."""

    line: int
    code: str
    message: str


@dataclass(slots=True)
class Report:
    organisation: str
    outcome: ImportOutcome = "imported"
    organisation_created: bool = False
    ignored_headings: tuple[str, ...] = ()
    rows: int = 0
    imported: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    refused: list[RowRefusal] = field(default_factory=list)
    warnings: list[RowWarning] = field(default_factory=list)
    warning_counts: Counter[str] = field(default_factory=Counter)
    # Of the updated deals, for `service.show_new_names`; no part of what is told.
    new_names: dict[int, str] = field(default_factory=dict)

    def warn(self, warning: RowWarning) -> None:
        self.warning_counts[warning.code] += 1
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(warning)

    def nothing_done(self) -> None:
        """A refused row rolled everything back."""
        self.outcome = "refused"
        self.imported = self.updated = self.unchanged = 0
        self.organisation_created = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome,
            "organisation": self.organisation,
            "organisation_created": self.organisation_created,
            "rows": self.rows,
            **self.counts(),
            "refusals": [{"line": refusal.line, "reason": refusal.reason} for refusal in self.refused],
            "warnings": [{"line": warning.line, "code": warning.code, "message": warning.message} for warning in self.warnings],
            "warning_counts": dict(self.warning_counts),
            "ignored_headings": list(self.ignored_headings),
        }

    def counts(self) -> dict[str, int]:
        return {
            "imported": self.imported,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "skipped": self.skipped,
            "refused": len(self.refused),
        }


class ImportRefused(BadRequest):
    """Raised out of the transaction, so that nothing of a file with a refused row stays."""

    code, title = "import_refused", "Nothing was imported"

    def __init__(self, report: Report) -> None:
        super().__init__(f"{len(report.refused)} of {report.rows} rows were refused.")
        self.report = report
