"""What is done inside a deal: findings, the items of its checklist, and what they and the deal said before.

Findings and items can be taken back out of their deletion.
"""

from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId

# The gravest first; the order in which they are sorted.
SEVERITIES = ("critical", "high", "medium", "low", "info")
FINDING_STATUSES = ("open", "in_review", "accepted", "resolved")


class Finding(Base):
    """Something the diligence brought to light. People call it by its number, which is never used again in its deal."""

    __tablename__ = "findings"
    __table_args__ = (
        UniqueConstraint("deal_id", "number"),
        Index("ix_findings_deal_id_updated_at", "deal_id", "updated_at"),
        CheckConstraint(f"severity IN {SEVERITIES!r}", name="severity"),
        CheckConstraint(f"status IN {FINDING_STATUSES!r}", name="status"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    deal_id: Mapped[int] = mapped_column(ForeignKey("deals.id", ondelete="CASCADE"))
    number: Mapped[int]
    title: Mapped[str] = mapped_column(String(200))
    text: Mapped[str] = mapped_column(Text, server_default="")
    severity: Mapped[str] = mapped_column(String(10), server_default="medium")
    status: Mapped[str] = mapped_column(String(10), server_default="open")
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    version: Mapped[int] = mapped_column(server_default=sql("1"))
    created_at: Mapped[datetime]
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    updated_at: Mapped[datetime]
    updated_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    deleted_at: Mapped[datetime | None]


class ChecklistItem(Base):
    """One thing to obtain or to do. Sections have no rows of their own: they are what items say, in the order of their first item."""

    __tablename__ = "checklist_items"
    __table_args__ = (Index("ix_checklist_items_deal_id_position", "deal_id", "position"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    deal_id: Mapped[int] = mapped_column(ForeignKey("deals.id", ondelete="CASCADE"))
    section: Mapped[str] = mapped_column(String(120))
    title: Mapped[str] = mapped_column(String(300))
    position: Mapped[int]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    due_on: Mapped[date | None]
    done_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(server_default=sql("1"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    updated_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    deleted_at: Mapped[datetime | None]

    @property
    def done(self) -> bool:
        return self.done_at is not None


# What has a history: a finding, an item of the checklist, the facts of the deal itself.
REVISED = ("finding", "item", "deal")


class Revision(Base):
    """One change of a thing, with what it replaced: the thing itself says what is now, so going back row by row says what was.

    Of a deal `item_id` is its own id.
    """

    __tablename__ = "revisions"
    __table_args__ = (UniqueConstraint("kind", "item_id", "version"), CheckConstraint(f"kind IN {REVISED!r}", name="kind"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    deal_id: Mapped[int] = mapped_column(ForeignKey("deals.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    item_id: Mapped[int] = mapped_column(BigId)
    # Which this change made.
    version: Mapped[int]
    # As its event has it: created, updated, done, …
    verb: Mapped[str] = mapped_column(String(20))
    at: Mapped[datetime]
    by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    # By fact: what it said until then.
    before: Mapped[dict[str, Any]]
