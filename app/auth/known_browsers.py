"""Browsers that have signed in to an account before. Their sign-ins have their own counter, so failures of others do not slow them down.

The device cookie proves nothing more. A sign-in with it still needs the password, and its failures are counted.
"""

from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.statements import execute_dml, fetch, run
from app.models import NOW, KnownBrowser
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


_OF_PERSON = KnownBrowser.user_id == bindparam("person_id")
_FIND = select(KnownBrowser.token_hash).where(
    _OF_PERSON, KnownBrowser.token_hash.in_(bindparam("hashes", expanding=True)), KnownBrowser.used_at > bindparam("used_after")
)
_TOUCH = update(KnownBrowser).where(_OF_PERSON, KnownBrowser.token_hash == bindparam("known")).values(used_at=NOW)
_INSERT = insert(KnownBrowser).inline()
_SURPLUS = (
    select(KnownBrowser.id)
    .where(_OF_PERSON)
    .order_by(KnownBrowser.used_at.desc(), KnownBrowser.id.desc())
    .offset(literal(MAX_BROWSERS_PER_USER))
)


async def find_known_browser(db: AsyncSession, user_id: int, tokens: list[str], *, now: datetime) -> str | None:
    """The hash of the token by which this browser is known to this account."""
    hashes = [hash_token(each) for each in tokens]
    rows = await fetch(db, _FIND, person_id=user_id, hashes=hashes, used_after=now - LIFETIME) if hashes else ()
    return rows[0].token_hash if rows else None


async def remember_browser(db: AsyncSession, user_id: int, tokens: list[str], *, now: datetime) -> str:
    """After a successful sign-in: the browser's token for this account, a new one where it has none. The caller has locked the user."""
    known = await find_known_browser(db, user_id, tokens, now=now)
    if known is not None:
        await run(db, _TOUCH, person_id=user_id, known=known, now=now)
        return next(each for each in tokens if hash_token(each) == known)
    token = new_token()
    await run(db, _INSERT, user_id=user_id, token_hash=hash_token(token), created_at=now, used_at=now)
    surplus = [row.id for row in await fetch(db, _SURPLUS, person_id=user_id)]
    if surplus:
        await execute_dml(db, delete(KnownBrowser).where(KnownBrowser.id.in_(surplus)))
    return token


async def forget_browsers(db: AsyncSession, user_id: int) -> None:
    """Called with a new password: whoever shared the old one becomes unknown again."""
    await execute_dml(db, delete(KnownBrowser).where(KnownBrowser.user_id == user_id))
