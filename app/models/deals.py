"""Deals, who may see them, and each person's visits and pins."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId

STAGES = ("sourcing", "diligence", "negotiation", "signing", "closed")


class Deal(Base):
    """One acquisition of one organisation. Deleted means in the bin; archived means read-only."""

    __tablename__ = "deals"
    __table_args__ = (
        UniqueConstraint("organisation_id", "external_ref"),
        Index("ix_deals_organisation_id_announced_on_id", "organisation_id", "announced_on", "id"),
        Index("ix_deals_organisation_id_name_id", "organisation_id", "name", "id"),
        CheckConstraint(f"stage IN {STAGES!r}", name="stage"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisations.id"))
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    # The import in the browser that made it, if one did.
    import_id: Mapped[int | None] = mapped_column(ForeignKey("imports.id", ondelete="SET NULL"), index=True)
    external_ref: Mapped[str | None] = mapped_column(String(200))
    name: Mapped[str] = mapped_column(String(200))
    acquirer: Mapped[str] = mapped_column(String(200), server_default="")
    stage: Mapped[str] = mapped_column(String(20), server_default="diligence")
    # As the export says it: Complete, Pending, Undisclosed or empty.
    status: Mapped[str] = mapped_column(String(40), server_default="")
    terms: Mapped[str] = mapped_column(String(80), server_default="")
    # Whole US dollars; None is "undisclosed".
    price_usd: Mapped[int | None] = mapped_column(BigInteger)
    announced_on: Mapped[date | None]
    announced_year: Mapped[int | None]
    tagline: Mapped[str] = mapped_column(Text, server_default="")
    categories: Mapped[str] = mapped_column(Text, server_default="")
    founded_year: Mapped[int | None]
    city: Mapped[str] = mapped_column(String(120), server_default="")
    region: Mapped[str] = mapped_column(String(120), server_default="")
    country: Mapped[str] = mapped_column(String(120), server_default="")
    homepage: Mapped[str] = mapped_column(Text, server_default="")
    profile_url: Mapped[str] = mapped_column(Text, server_default="")
    news_title: Mapped[str] = mapped_column(Text, server_default="")
    news_url: Mapped[str] = mapped_column(Text, server_default="")
    version: Mapped[int] = mapped_column(server_default=text("1"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    archived_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None] = mapped_column(index=True)


class Member(Base):
    """A grant: one person may see (viewer) or edit (editor) one deal, for ever or until `expires_at`."""

    __tablename__ = "members"
    __table_args__ = (UniqueConstraint("deal_id", "user_id"), CheckConstraint("role IN ('editor', 'viewer')", name="role"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    deal_id: Mapped[int] = mapped_column(ForeignKey("deals.id", ondelete="CASCADE"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    role: Mapped[str] = mapped_column(String(10))
    granted_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None] = mapped_column(index=True)


class Visit(Base):
    """When a person last chose a deal (the recents), the page they left it on, and up to when they have seen what is new there."""

    __tablename__ = "visits"
    __table_args__ = (Index("ix_visits_user_id_visited_at", "user_id", "visited_at"),)

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    deal_id: Mapped[int] = mapped_column(ForeignKey("deals.id", ondelete="CASCADE"), primary_key=True, index=True)
    visited_at: Mapped[datetime]
    last_page: Mapped[str] = mapped_column(String(20), server_default="overview")
    # None: as much as by `visited_at`.
    findings_seen_at: Mapped[datetime | None]
    checklist_seen_at: Mapped[datetime | None]
    activity_seen_at: Mapped[datetime | None]


_IN_A_DEAL, _IN_NONE = text("deal_id IS NOT NULL"), text("deal_id IS NULL")


class Place(Base):
    """Where a person was on one page of a deal, or on the list or the board of all: its list as they left it, and what was open."""

    __tablename__ = "places"
    __table_args__ = (
        Index("uq_places_of_deals", "user_id", "deal_id", "page", unique=True, sqlite_where=_IN_A_DEAL, postgresql_where=_IN_A_DEAL),
        Index("uq_places_of_none", "user_id", "page", unique=True, sqlite_where=_IN_NONE, postgresql_where=_IN_NONE),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    deal_id: Mapped[int | None] = mapped_column(ForeignKey("deals.id", ondelete="CASCADE"), index=True)
    page: Mapped[str] = mapped_column(String(20))
    # Of the page's list: version, query (filters, sort, search), anchor (the first row in sight, and those after it).
    listing: Mapped[dict[str, Any] | None]
    # What was open instead of the list; of which kind the item is, the page says.
    item_id: Mapped[int | None] = mapped_column(BigInteger)
    form: Mapped[str] = mapped_column(String(10), server_default="")
    # The field that had the cursor, and what was selected in it.
    focus: Mapped[dict[str, Any] | None]
    device: Mapped[str] = mapped_column(String(60), server_default="")
    seen_at: Mapped[datetime]


class Pin(Base):
    __tablename__ = "pins"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    deal_id: Mapped[int] = mapped_column(ForeignKey("deals.id", ondelete="CASCADE"), primary_key=True, index=True)
    pinned_at: Mapped[datetime]
