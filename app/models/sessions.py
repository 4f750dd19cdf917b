"""Logins, their sessions, and the flag that says whether Redis may be believed."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, String, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId


class Login(Base):
    """Who a browser is. The token itself is only in the cookie; at rest there is its SHA-256 in hex."""

    __tablename__ = "logins"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    idle_expires_at: Mapped[datetime] = mapped_column(index=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None] = mapped_column(index=True)
    keep_signed_in: Mapped[bool] = mapped_column(server_default=false())
    user_agent: Mapped[str] = mapped_column(String(300), server_default="")
    address: Mapped[str] = mapped_column(String(64), server_default="")


class Session(Base):
    """The working context of one login. `version` rises with every change, also over a row made anew."""

    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    login_id: Mapped[int] = mapped_column(ForeignKey("logins.id", ondelete="CASCADE"), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    version: Mapped[int] = mapped_column(BigInteger)
    data: Mapped[dict[str, Any]]
    # Mirrors data["current_deal_id"], so that a revoke finds the sessions it concerns by an index.
    current_deal_id: Mapped[int | None] = mapped_column(ForeignKey("deals.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime]
    touched_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class SessionBackend(Base):
    """One row: may sessions be read from Redis (`mode`), under which epoch, from which instance."""

    __tablename__ = "session_backend"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"), CheckConstraint("mode IN ('redis', 'sql')", name="mode"))

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    mode: Mapped[str] = mapped_column(String(10))
    epoch: Mapped[int] = mapped_column(BigInteger)
    redis_run_id: Mapped[str | None] = mapped_column(String(64))
    redis_replid: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(Text, server_default="")
    changed_at: Mapped[datetime]
    changed_by: Mapped[str] = mapped_column(String(120), server_default="")
    # Who this is in a Redis that others use as well, and what our keys begin with after "hf:" (app/core/redis_keys.py).
    installation_id: Mapped[str] = mapped_column(String(16), server_default="")
    redis_prefix: Mapped[str] = mapped_column(String(16), server_default="")


class Process(Base):
    """A living web or worker process; its row goes with a clean exit and counts for nothing once the heartbeat is old."""

    __tablename__ = "processes"

    id: Mapped[str] = mapped_column(String(120), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    version: Mapped[str] = mapped_column(String(40))
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime] = mapped_column(index=True)
    pinned: Mapped[str] = mapped_column(String(10), server_default="auto")
    # What this process last saw of Redis: the instance that served it and since when without a break, else the fault.
    redis_run_id: Mapped[str | None] = mapped_column(String(64))
    redis_ok_since: Mapped[datetime | None]
    redis_fault: Mapped[str] = mapped_column(String(200), server_default="")
    breaker: Mapped[str] = mapped_column(String(10), server_default="closed")
    # How far its machine's clock is ahead of the database's; null where that has no clock of its own.
    clock_skew_ms: Mapped[int | None] = mapped_column(BigInteger)


class KnownBrowser(Base):
    """A browser that signed in to this account before. The token is only in its device cookie; at rest there is its SHA-256 in hex."""

    __tablename__ = "known_browsers"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime]


class LoginAttempt(Base):
    """Failed sign-ins of one account or address, counted in SQL so that neither Redis nor a restart forgets them."""

    __tablename__ = "login_attempts"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    first_failed_at: Mapped[datetime]
    blocked_until: Mapped[datetime | None]
