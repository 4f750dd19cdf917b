"""People at work, as rows: run by its path, so that `app` is the one of the commit that is measured.

Reads DATABASE_URL and SECRET_KEY, writes the rows, and prints who there is: cookies that are signed in but have no session yet, and deals.
"""

import asyncio
import json
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

from argon2 import PasswordHasher
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from app.core.config import load_settings
from app.factory import create_app
from app.models import ChecklistItem, Deal, Finding, Login, Member, Organisation, Pin, User, Visit
from app.sessions.token import hash_token, new_token

PASSWORD = "correct-horse-battery-staple"
STAGES = ("sourcing", "diligence", "diligence", "negotiation", "signing", "closed")
DEALS, DEALS_EACH, FINDINGS, ITEMS, VISITS, PINS = 60, 30, 8, 20, 6, 2
# As cheap as argon2 goes: what signing in costs beside it is what is measured.
PASSWORD_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
NOW = datetime.now(UTC)


async def fill(connection: AsyncConnection, *, people: int, spare_logins: int) -> dict[str, Any]:
    """`people` with a login each, and `spare_logins` more among them. None of their sessions has begun."""
    await connection.execute(insert(Organisation), [{"name": "Northgate Partners", "created_at": NOW}])
    home = await _last_id(connection, Organisation)
    each = {"organisation_id": home, "password_hash": PASSWORD_HASH, "created_at": NOW}
    first = await _last_id(connection, User) + 1
    await connection.execute(
        insert(User), [{**each, "email": f"person{n}@speed.example", "name": f"Somebody Number {n}"} for n in range(people)]
    )
    users = list(range(first, first + people))
    deals = await _add_deals(connection, home, users)
    seen = [[deals[(number + step) % DEALS] for step in range(DEALS_EACH)] for number in range(people)]
    await _add_work(connection, deals, users)
    await _add_places(connection, users, seen)
    tokens = [new_token() for _ in range(people + spare_logins)]
    deadlines = {"idle_expires_at": NOW + timedelta(days=1), "expires_at": NOW + timedelta(days=30)}
    times = {"created_at": NOW, "seen_at": NOW, **deadlines}
    logins = [{**times, "user_id": users[number % people], "token_hash": hash_token(token)} for number, token in enumerate(tokens)]
    await connection.execute(insert(Login), logins)
    return {"tokens": tokens, "deals": seen, "emails": [f"person{n}@speed.example" for n in range(people)], "password": PASSWORD}


async def _add_deals(connection: AsyncConnection, home: int, users: list[int]) -> list[int]:
    first = await _last_id(connection, Deal) + 1
    rows = [
        {
            "organisation_id": home,
            "owner_id": users[number % len(users)],
            "name": f"Northgate acquires Tollbridge {number}",
            "acquirer": "Northgate",
            "stage": STAGES[number % len(STAGES)],
            "status": "Pending",
            "price_usd": 1_000_000 * (number + 1),
            "announced_on": date(2020, 1, 1) + timedelta(days=number),
            "announced_year": 2020,
            "tagline": "Bridges for those who cross rivers",
            "categories": "Infrastructure, Bridges",
            "city": "Leeds",
            "country": "United Kingdom",
            "created_at": NOW,
            "updated_at": NOW,
        }
        for number in range(DEALS)
    ]
    await connection.execute(insert(Deal), rows)
    return list(range(first, first + DEALS))


async def _add_work(connection: AsyncConnection, deals: list[int], users: list[int]) -> None:
    made = {"created_at": NOW, "updated_at": NOW}
    text = "The lease of the second site ends in **March**.\n\n- ask for the renewal\n- look at the rent"
    findings = [
        {**made, "deal_id": deal, "number": number, "title": f"Lease {number}", "text": text, "created_by_id": users[number % len(users)]}
        for deal in deals
        for number in range(1, FINDINGS + 1)
    ]
    items = [
        {**made, "deal_id": deal, "section": f"Section {number % 4}", "title": f"Ask for document {number}", "position": number}
        for deal in deals
        for number in range(ITEMS)
    ]
    await connection.execute(insert(Finding), findings)
    await connection.execute(insert(ChecklistItem), items)


async def _add_places(connection: AsyncConnection, users: list[int], seen: list[list[int]]) -> None:
    pairs = list(zip(users, seen, strict=True))
    grants = [{"user_id": user, "deal_id": deal, "role": "editor", "created_at": NOW} for user, deals in pairs for deal in deals]
    visits = [{"user_id": user, "deal_id": deal, "visited_at": NOW} for user, deals in pairs for deal in deals[:VISITS]]
    await connection.execute(insert(Member), grants)
    await connection.execute(insert(Visit), visits)
    await connection.execute(
        insert(Pin), [{"user_id": u, "deal_id": deal, "pinned_at": NOW} for u, deals in pairs for deal in deals[:PINS]]
    )
    for user, deals in pairs:
        last = {"last_deal_id": deals[0], "last_deal_accessed_at": NOW}
        await connection.execute(update(User).where(User.id == user).values(**last))


async def _last_id(connection: AsyncConnection, model: Any) -> int:
    found = await connection.scalar(select(func.max(model.id)))
    return int(found or 0)


async def main(people: int, spare_logins: int) -> None:
    settings = load_settings()
    engine = create_async_engine(settings.database_url)
    try:
        async with engine.begin() as connection:
            found = await fill(connection, people=people, spare_logins=spare_logins)
    finally:
        await engine.dispose()
    app = create_app(settings)
    auth = app.session_interface.auth  # type: ignore[attr-defined]
    found["cookies"] = [f"{auth.cookie_name}={auth.dump_token(token, app)}" for token in found.pop("tokens")]
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
