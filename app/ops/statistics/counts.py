"""Counts of sessions and logins, for operators."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Login, Session, SessionBackend


@dataclass(frozen=True)
class SessionFigures:
    backend_mode: str
    epoch: int
    sessions_live: int
    sessions_expired: int
    logins_live: int
    logins_over: int
    users_with_sessions: int
    most_sessions_of_a_user: int


async def count_sessions(db: AsyncSession, now: datetime) -> SessionFigures:
    """What the tables hold now. An expired row is one the nightly job has yet to delete; no request is served by it."""
    live_login = Login.ended_at.is_(None) & (Login.idle_expires_at > now) & (Login.expires_at > now)
    live_session = Session.expires_at > now
    per_user = select(func.count().label("n")).select_from(Session).group_by(Session.user_id).subquery()
    flag = (await db.execute(select(SessionBackend.mode, SessionBackend.epoch))).one()
    sessions = (await db.execute(select(func.count().filter(live_session), func.count().filter(~live_session)).select_from(Session))).one()
    logins = (await db.execute(select(func.count().filter(live_login), func.count().filter(~live_login)).select_from(Login))).one()
    users = (await db.execute(select(func.count(), func.coalesce(func.max(per_user.c.n), 0)).select_from(per_user))).one()
    return SessionFigures(flag.mode, flag.epoch, *sessions, *logins, *users)
