"""An installation that has been used for a while, written in a few statements that both databases understand."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import bindparam, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.models.base import UtcDateTime

ORGANISATIONS, DEALS = 10, 1000
# About what a session holds: person, deal card, notices.
DATA = '{"user": {"id": 1, "name": "Somebody With A Name", "role": "member"}, "note": "' + 200 * "x" + '"}'


@dataclass(frozen=True)
class Amounts:
    """`expired` of `sessions` are over, `dead` of their logins ended months ago. `stale` people cannot come back to their last deal,
    as many others can, and eight times as many have none."""

    sessions: int = 1_000_000
    expired: int = 100_000
    dead: int = 20_000
    stale: int = 10_000

    @property
    def people(self) -> int:
        return 10 * self.stale


def _statements(amounts: Amounts) -> list[str]:
    """Every tenth or hundredth row of a table is the one that is over, so that they lie among the living."""
    each = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})"
    every, dead = amounts.sessions // amounts.expired, amounts.sessions // amounts.dead
    return [
        f"{each.format(ORGANISATIONS)} INSERT INTO organisations (id, name, created_at) SELECT i, 'House ' || i, :now FROM n",
        # Half of the deals that the first of ten people worked on last are in the bin, the others were taken from them.
        f"{each.format(DEALS)} INSERT INTO deals (id, organisation_id, name, created_at, updated_at, deleted_at) "
        f"SELECT i, 1 + i % {ORGANISATIONS}, 'Deal ' || i, :now, :now, CASE WHEN i % 20 = 1 THEN :lately END FROM n",
        f"{each.format(amounts.people)} INSERT INTO users (id, organisation_id, email, name, password_hash, created_at, last_deal_id) "
        f"SELECT i, 1 + (1 + i % {DEALS}) % {ORGANISATIONS}, 'user' || i || '@sweep.example', 'User', '', :now, "
        f"CASE WHEN i % 10 < 2 THEN 1 + i % {DEALS} END FROM n",
        f"{each.format(amounts.people)} INSERT INTO members (deal_id, user_id, role, created_at) "
        f"SELECT 1 + i % {DEALS}, i, 'viewer', :now FROM n WHERE i % 10 = 1",
        f"{each.format(amounts.sessions)} INSERT INTO logins (id, user_id, token_hash, created_at, seen_at, idle_expires_at, expires_at) "
        f"SELECT i, 1 + i % {amounts.people}, 'hash of ' || i, :now, :now, "
        f"CASE WHEN i % {dead} = 1 THEN :long_ago ELSE :later END, CASE WHEN i % {dead} = 1 THEN :long_ago ELSE :later END FROM n",
        f"{each.format(amounts.sessions)} INSERT INTO sessions (login_id, user_id, version, data, created_at, touched_at, expires_at) "
        f"SELECT i, 1 + i % {amounts.people}, 1, '{DATA}', :now, :now, CASE WHEN i % {every} = 0 THEN :lately ELSE :later END FROM n",
    ]


async def fill(url: str, amounts: Amounts) -> None:
    """On a connection without the time-outs of the app."""
    now = datetime.now(UTC)
    moments = {
        "now": now - timedelta(days=1),
        "lately": now - timedelta(hours=1),
        "later": now + timedelta(days=7),
        "long_ago": now - timedelta(days=100),
    }
    engine = create_async_engine(make_url(url))
    try:
        async with engine.begin() as connection:
            for statement in _statements(amounts):
                named = [bindparam(name, moment, type_=UtcDateTime()) for name, moment in moments.items() if f":{name}" in statement]
                await connection.execute(text(statement).bindparams(*named))
        async with engine.begin() as connection:
            for table in ("deals", "users", "organisations", "logins"):
                if engine.dialect.name == "postgresql":
                    await connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"))
            await connection.execute(text("ANALYZE"))
    finally:
        await engine.dispose()
