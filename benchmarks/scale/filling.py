"""Years of other people's work, beside the few whose requests are measured: written in statements that both databases understand."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import bindparam, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from app.models.base import UtcDateTime

# Ids below belong to those who are measured, who are of the first organisation.
FIRST = 10_000
FIRST_ORGANISATION = 1
# A deal is shared with so many.
GRANTS = 3
# About what a session holds.
DATA = '{"user": {"id": 1, "name": "Somebody With A Name", "role": "member"}, "note": "' + 200 * "x" + '"}'


@dataclass(frozen=True)
class Amounts:
    """`expired` of the sessions are over. One of the `organisations` is the one of those who are measured."""

    people: int = 10_000
    deals: int = 200_000
    events: int = 1_000_000
    sessions: int = 1_000_000
    expired: int = 100_000
    organisations: int = 20

    def __post_init__(self) -> None:
        if self.people % self.organisations or self.people < self.organisations * GRANTS:
            raise ValueError("people must be a multiple of organisations, and several of them")


def statements(amounts: Amounts) -> list[str]:
    """Whoever and whatever has the same rest by the number of organisations belongs to the same one."""
    of, people, deals = amounts.organisations, amounts.people, amounts.deals
    home = f"CASE WHEN i % {of} = 0 THEN {FIRST_ORGANISATION} ELSE {FIRST} + i % {of} END"
    each = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {})"
    every = max(amounts.sessions // max(amounts.expired, 1), 1)
    grants = [
        f"{each.format(deals)} INSERT INTO members (deal_id, user_id, role, created_at) "
        f"SELECT {FIRST} + i, {FIRST} + (i + {of * (1 + step)}) % {people}, 'viewer', :now FROM n"
        for step in range(GRANTS)
    ]
    return [
        f"{each.format(of)} INSERT INTO organisations (id, name, created_at) SELECT {FIRST} + i, 'House ' || i, :now FROM n",
        f"{each.format(people)} INSERT INTO users (id, organisation_id, email, name, password_hash, created_at) "
        f"SELECT {FIRST} + i, {home}, 'user' || i || '@scale.example', 'User ' || i, '', :now FROM n",
        f"{each.format(deals)} INSERT INTO deals (id, organisation_id, owner_id, name, acquirer, stage, created_at, updated_at) "
        f"SELECT {FIRST} + i, {home}, {FIRST} + i % {people}, 'Harbour acquires Tollbridge ' || i, 'Harbour', "
        "CASE WHEN i % 4 = 0 THEN 'diligence' ELSE 'closed' END, :now, :now FROM n",
        *grants,
        f"{each.format(deals)} INSERT INTO visits (user_id, deal_id, visited_at) SELECT {FIRST} + i % {people}, {FIRST} + i, :now FROM n",
        f"{each.format(deals)} INSERT INTO findings (deal_id, number, title, created_at, updated_at) "
        f"SELECT {FIRST} + i, 1, 'Lease ' || i, :now, :now FROM n",
        f"{each.format(amounts.events)} INSERT INTO events (kind, at, organisation_id, actor_id, user_id, deal_id, payload) "
        f"SELECT 'deal.selected', :now, {home}, {FIRST} + i % {people}, {FIRST} + i % {people}, {FIRST} + i % {deals}, '{{}}' FROM n",
        # Told long ago.
        "DELETE FROM outbox",
        f"{each.format(amounts.sessions)} INSERT INTO logins (id, user_id, token_hash, created_at, seen_at, idle_expires_at, expires_at) "
        f"SELECT {FIRST} + i, {FIRST} + i % {people}, 'hash of ' || i, :now, :now, :later, :later FROM n",
        f"{each.format(amounts.sessions)} INSERT INTO sessions (login_id, user_id, version, data, created_at, touched_at, expires_at) "
        f"SELECT {FIRST} + i, {FIRST} + i % {people}, 1, '{DATA}', :now, :now, "
        f"CASE WHEN i % {every} = 0 THEN :lately ELSE :later END FROM n",
    ]


async def fill(url: str, amounts: Amounts) -> None:
    """On a connection without the time-outs of the app."""
    now = datetime.now(UTC)
    moments = {"now": now - timedelta(days=1), "lately": now - timedelta(hours=1), "later": now + timedelta(days=7)}
    engine = create_async_engine(make_url(url))
    try:
        async with engine.begin() as connection:
            assert await connection.scalar(text("SELECT max(id) FROM logins")) < FIRST
            for statement in statements(amounts):
                named = [bindparam(name, moment, type_=UtcDateTime()) for name, moment in moments.items() if f":{name}" in statement]
                await connection.execute(text(statement).bindparams(*named))
        async with engine.begin() as connection:
            await _settle(connection)
    finally:
        await engine.dispose()


async def _settle(connection: AsyncConnection) -> None:
    """As the database would be after a night: it knows how much there is, and where its next ids begin."""
    if connection.dialect.name == "postgresql":
        for table in ("organisations", "users", "deals", "logins"):
            await connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"))
    await connection.execute(text("ANALYZE"))
