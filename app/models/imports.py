"""Files of deals that people import in the browser: who, what, how far, and the rows to look at."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId, Json

IMPORT_STATES = ("arriving", "draft", "queued", "running", "done", "cancelled", "failed")


class Import(Base):
    """One file on its way into an organisation. `rows_done` moves in the transaction that writes the rows: a run that was
    killed goes on from there."""

    __tablename__ = "imports"
    __table_args__ = (
        CheckConstraint(f"state IN {IMPORT_STATES!r}", name="state"),
        Index("ix_imports_organisation_id_id", "organisation_id", "id"),
        Index("ix_imports_state_updated_at", "state", "updated_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisations.id"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    filename: Mapped[str] = mapped_column(String(200))
    size: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(10))
    # By column: headings, fields (what each holds), samples. And the encoding.
    layout: Mapped[dict[str, Any]]
    # What the check before the import found, and what the import has done so far; both shaped as `report.Report.counts`.
    found: Mapped[dict[str, Any]]
    counts: Mapped[dict[str, Any]]
    rows_done: Mapped[int] = mapped_column(server_default=text("0"))
    position: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # Whoever took the import up last; a run that lost it writes nothing more.
    run: Mapped[str] = mapped_column(String(32), server_default="")
    error: Mapped[str] = mapped_column(String(60), server_default="")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class ImportPiece(Base):
    """A piece of the file, here and not on a disk so that web and worker need not share one. Gone once the import is over."""

    __tablename__ = "import_pieces"

    import_id: Mapped[int] = mapped_column(ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class ImportProblem(Base):
    """A row that was refused, with its cells as they stand in the file, or one to look at. Only so many are kept."""

    __tablename__ = "import_problems"
    __table_args__ = (
        CheckConstraint("kind IN ('refused', 'warning')", name="kind"),
        Index("ix_import_problems_import_id_kind_id", "import_id", "kind", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    import_id: Mapped[int] = mapped_column(ForeignKey("imports.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(10))
    line: Mapped[int]
    code: Mapped[str] = mapped_column(String(40), server_default="")
    message: Mapped[str] = mapped_column(Text)
    cells: Mapped[list[str] | None] = mapped_column(Json)
