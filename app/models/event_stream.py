"""What is made of the events: seals, figures, notices, and how far each consumer group has come."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId

# The chain, and the figures, of events that belong to no organisation.
NO_ORGANISATION = 0
# Figures over all organisations.
ALL_ORGANISATIONS = -1


class EventSeal(Base):
    """A link of an organisation's hash chain: the event at `sequence`, bound to everything before it. Triggers refuse changes.

    `event_id` is no reference, so that a seal outlives an event that somebody removed, and tells of it.
    """

    __tablename__ = "event_seals"

    organisation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    event_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
    sealed_at: Mapped[datetime]


class Analytics(Base):
    """How often something happened in a period: in hours (resolution 60, minutes) per organisation and over all of them, and in
    5 minutes over all of them."""

    __tablename__ = "analytics"

    resolution: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    start: Mapped[datetime] = mapped_column(primary_key=True)
    organisation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    measure: Mapped[str] = mapped_column(String(60), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # The sum of what was measured, such as seconds; 0 where only the number counts.
    total: Mapped[float] = mapped_column(Float, server_default=text("0"))


class EventEffect(Base):
    """A group has done what this event asks of it, in the transaction that wrote this row. Rows below the group's mark are gone."""

    __tablename__ = "event_effects"

    consumer_group: Mapped[str] = mapped_column(String(20), primary_key=True)
    event_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)


class EventMark(Base):
    """Every event up to `event_id` has had its effect in this group, and no other such event can still be committed."""

    __tablename__ = "event_marks"

    consumer_group: Mapped[str] = mapped_column(String(20), primary_key=True)
    event_id: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class DeadLetter(Base):
    """What a group could not do after its tries. `event_id` is absent where the entry of the stream names none."""

    __tablename__ = "dead_letters"
    __table_args__ = (UniqueConstraint("consumer_group", "entry_id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    consumer_group: Mapped[str] = mapped_column(String(20))
    # Of the stream, or "sql:" and the event's id where it came from SQL.
    entry_id: Mapped[str] = mapped_column(String(60))
    event_id: Mapped[int | None] = mapped_column(BigInteger)
    content: Mapped[dict[str, Any]]
    error: Mapped[str] = mapped_column(Text)
    deliveries: Mapped[int]
    dead_at: Mapped[datetime]
    requeued_at: Mapped[datetime | None]
    requeued_by: Mapped[str] = mapped_column(String(120), server_default="")
    resolved_at: Mapped[datetime | None]


class UserNotice(Base):
    """Something a person is told, such as that a deal was shared with them: ids only, put into words when read.

    `sequence` rises by one a person in the order of commits (see `NoticeCounter`), so whoever has seen one has seen all before.
    """

    __tablename__ = "user_notices"
    __table_args__ = (UniqueConstraint("user_id", "sequence"), UniqueConstraint("event_id", "user_id"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    sequence: Mapped[int]
    kind: Mapped[str] = mapped_column(String(40))
    event_id: Mapped[int] = mapped_column(BigInteger)
    actor_id: Mapped[int | None] = mapped_column(BigInteger)
    deal_id: Mapped[int | None] = mapped_column(BigInteger)
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    read_at: Mapped[datetime | None]


class NoticeCounter(Base):
    """The last sequence of a person's notices. Its row lock puts those who write them into one order."""

    __tablename__ = "notice_counters"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    last: Mapped[int]
