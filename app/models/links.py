"""One-time links: an invitation into an organisation, or a new password for one of its people."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId


class OneTimeLink(Base):
    """The token itself is only in the link that an administrator was shown once; at rest there is its SHA-256 in hex."""

    __tablename__ = "one_time_links"
    __table_args__ = (CheckConstraint("kind IN ('invitation', 'reset')", name="kind"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisations.id"), index=True)
    # Of an invitation: whom it asks in, and as what. Of a reset: whose password it sets.
    email: Mapped[str] = mapped_column(String(320), server_default="")
    role: Mapped[str] = mapped_column(String(10), server_default="member")
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]
