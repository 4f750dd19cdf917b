"""The audit trail, append-only, and the outbox of what the stream has not been told yet."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId


class Event(Base):
    """What happened, written in the transaction of what it tells. Triggers refuse UPDATE and DELETE, and fill the outbox.

    The ids point nowhere by design: an event outlives the person and the deal it names.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_deal_id_id", "deal_id", "id"),
        Index("ix_events_user_id_id", "user_id", "id"),
        Index("ix_events_organisation_id_id", "organisation_id", "id"),
        # What belongs to no organisation: the backend's flips and what operators did, among the failed sign-ins of strangers.
        Index(
            "ix_events_operations",
            "kind",
            "id",
            sqlite_where=text("organisation_id IS NULL"),
            postgresql_where=text("organisation_id IS NULL"),
        ),
        Index("ix_events_organisation_id_kind_at", "organisation_id", "kind", "at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    kind: Mapped[str] = mapped_column(String(60))
    at: Mapped[datetime]
    organisation_id: Mapped[int | None] = mapped_column(BigInteger)
    actor_id: Mapped[int | None] = mapped_column(BigInteger)
    user_id: Mapped[int | None] = mapped_column(BigInteger)
    deal_id: Mapped[int | None] = mapped_column(BigInteger)
    request_id: Mapped[str] = mapped_column(String(64), server_default="")
    payload: Mapped[dict[str, Any]]


class Outbox(Base):
    __tablename__ = "outbox"

    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"), primary_key=True)


class Switch(Base):
    """An operator's switch that works without a redeploy, such as `auto_restore_deal`."""

    __tablename__ = "switches"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    enabled: Mapped[bool]
    changed_at: Mapped[datetime]
    changed_by: Mapped[str] = mapped_column(String(120), server_default="")
