"""Organisations, their people, and the deal each person worked on last."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, false, text, true
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId


class Organisation(Base):
    __tablename__ = "organisations"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    created_at: Mapped[datetime]
    # What its administrators chose; environment and operators have the first word (deals/restore.py).
    auto_restore_deal: Mapped[bool] = mapped_column(server_default=true())


class User(Base):
    """A person of one organisation. `last_deal_id` is the durable half of the promise: what a new session opens."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('admin', 'member')", name="role"),
        CheckConstraint("start_at IN ('last_deal', 'list')", name="start_at"),
        CheckConstraint("theme IN ('system', 'light', 'dark')", name="theme"),
        Index("idx_users_last_deal", "last_deal_id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisations.id"), index=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    password_hash: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(10), server_default="member")
    is_operator: Mapped[bool] = mapped_column(server_default=false())
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    # Moves with every change that must end logins: a login is inserted only if it still is what it was
    # before the password was checked.
    auth_version: Mapped[int] = mapped_column(server_default=text("0"))

    # deals.owner_id refers back to users, so one of the two tables has to come first: use_alter says it is this one.
    last_deal_id: Mapped[int | None] = mapped_column(ForeignKey("deals.id", ondelete="SET NULL", use_alter=True))
    last_deal_accessed_at: Mapped[datetime | None]
    last_deal_version: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    last_deal_cleared_at: Mapped[datetime | None]

    remember_last_deal: Mapped[bool] = mapped_column(server_default=true())
    # Inside of deals; of no effect where the last deal is not remembered.
    remember_place: Mapped[bool] = mapped_column(server_default=true())
    start_at: Mapped[str] = mapped_column(String(10), server_default="last_deal")
    # Goes before `start_at`, which says again what opens once this deal is no more.
    start_deal_id: Mapped[int | None] = mapped_column(ForeignKey("deals.id", ondelete="SET NULL", use_alter=True), index=True)
    theme: Mapped[str] = mapped_column(String(10), server_default="system")

    def update_last_deal(self, deal_id: int, *, at: datetime) -> None:
        """Remember the deal a selection chose. An earlier clear no longer counts."""
        self.last_deal_id = deal_id
        self.last_deal_accessed_at = at
        self.last_deal_version += 1
        self.last_deal_cleared_at = None

    def get_last_deal(self) -> int | None:
        """The id of the deal to come back to, or None. Whether it may still be seen is `permissions`' to say."""
        return self.last_deal_id

    def clear_last_deal(self, *, at: datetime) -> None:
        """Forget the deal because its user said so: nothing is restored until the next selection."""
        self.last_deal_id = None
        self.last_deal_accessed_at = None
        self.last_deal_version += 1
        self.last_deal_cleared_at = at
