"""Browsers that have signed in to an account before. Their sign-ins have their own counter, so failures of others do not slow them down.

The device cookie proves nothing more. A sign-in with it still needs the password, and its failures are counted.
"""

from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.statements import execute_dml
from app.models import KnownBrowser
from app.sessions.token import hash_token, new_token

LIFETIME = timedelta(days=365)
MAX_BROWSERS_PER_USER = 20
# People who sign in with one browser, each with a token of their own: one person's token says nothing of another.
MAX_TOKENS_PER_BROWSER = 3
MAX_TOKEN_LENGTH = 64


def read_tokens(cookie: str) -> list[str]:
    """The tokens in a device cookie, the latest first."""
    return [each for each in cookie.split(".")[:MAX_TOKENS_PER_BROWSER] if 0 < len(each) <= MAX_TOKEN_LENGTH]


def write_tokens(token: str, others: list[str]) -> str:
    return ".".join([token, *(each for each in others if each != token)][:MAX_TOKENS_PER_BROWSER])


async def find_known_browser(db: AsyncSession, user_id: int, tokens: list[str], *, now: datetime) -> str | None:
    """The hash of the token by which this browser is known to this account."""
    hashes = [hash_token(each) for each in tokens]
    known = select(KnownBrowser.token_hash).where(KnownBrowser.user_id == user_id, KnownBrowser.token_hash.in_(hashes))
    return await db.scalar(known.where(KnownBrowser.used_at > now - LIFETIME)) if hashes else None


async def remember_browser(db: AsyncSession, user_id: int, tokens: list[str], *, now: datetime) -> str:
    """After a successful sign-in: the browser's token for this account, a new one where it has none. The caller has locked the user."""
    known = await find_known_browser(db, user_id, tokens, now=now)
    if known is not None:
        used = update(KnownBrowser).where(KnownBrowser.user_id == user_id, KnownBrowser.token_hash == known).values(used_at=now)
        await execute_dml(db, used)
        return next(each for each in tokens if hash_token(each) == known)
    token = new_token()
    db.add(KnownBrowser(user_id=user_id, token_hash=hash_token(token), created_at=now, used_at=now))
    await db.flush()
    latest = select(KnownBrowser.id).where(KnownBrowser.user_id == user_id).order_by(KnownBrowser.used_at.desc(), KnownBrowser.id.desc())
    surplus = list(await db.scalars(latest.offset(MAX_BROWSERS_PER_USER)))
    if surplus:
        await execute_dml(db, delete(KnownBrowser).where(KnownBrowser.id.in_(surplus)))
    return token


async def forget_browsers(db: AsyncSession, user_id: int) -> None:
    """Called with a new password: whoever shared the old one becomes unknown again."""
    await execute_dml(db, delete(KnownBrowser).where(KnownBrowser.user_id == user_id))
