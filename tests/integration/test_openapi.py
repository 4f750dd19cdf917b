"""The OpenAPI document says what is served: every operation is asked for what it takes and for what it does not, by everybody."""

import asyncio
from functools import partial

import httpx
import pytest

from app.core.database import Database
from tests.conftest import StartWeb
from tests.factories import PASSWORD, make_deal, make_member, make_organisation, make_user, make_work
from tests.fuzzing import Asked, ask_everything

# `make fuzz` asks for hours with another seed.
MAX_EXAMPLES, SEED = 1, 20_261_126
EVERY_OPERATION = 90


@pytest.mark.parametrize(("database_url", "redis_url"), [("sqlite", "none")], indirect=True)
@pytest.mark.parametrize("who", ["nobody", "admin", "operator"])
@pytest.mark.slow
@pytest.mark.timeout(600)  # half a minute on an idle core
async def test_what_is_served_is_what_is_documented(who: str, start_web: StartWeb, database: Database) -> None:
    people, ids = await populate(database)
    server = await start_web(dict.fromkeys(("RATE_LIMIT_WRITE", "RATE_LIMIT_EXPORT", "RATE_LIMIT_RUN"), "0"))

    def sign_in(email: str) -> str:
        answer = httpx.post(f"{server.url}/api/auth/login", json={"email": email, "password": PASSWORD}, trust_env=False)
        return "; ".join(f"{name}={value}" for name, value in answer.raise_for_status().cookies.items())

    signer = partial(sign_in, people[who]) if who in people else lambda: None
    # The operator may do all the others may; what refuses them refuses by who asks, not by what is sent.
    ask = partial(ask_everything, server.url, sign_in=signer, ids=ids, max_examples=MAX_EXAMPLES, seed=SEED, boundaries=who == "operator")
    asked: Asked = await asyncio.to_thread(ask)
    assert asked.failures == [], "\n".join(asked.failures)
    assert len(asked.statuses) >= EVERY_OPERATION
    done = {operation for operation, statuses in asked.statuses.items() if any(status < 300 for status in statuses)}
    assert len(done) > {"nobody": 3, "admin": 20, "operator": 60}[who], "the answers are not refusals alone"


async def populate(database: Database) -> tuple[dict[str, str], dict[str, list[str]]]:
    """An admin and an operator of one organisation with deals and work in them, and ids that lead somewhere."""
    organisation = await make_organisation(database)
    admin = await make_user(database, organisation, role="admin")
    operator = await make_user(database, organisation, role="admin", is_operator=True)
    other = await make_user(database, organisation)
    deals = [await make_deal(database, organisation, owner=other) for _ in range(3)]
    for deal in deals:
        await make_work(database, deal)
        await make_member(database, deal, operator, role="editor")
    people = {"admin": admin.email, "operator": operator.email}
    jobs = ["expire_sessions", "sweep_stale_deals"]
    ids = {
        "deal_id": [str(deal.id) for deal in deals],
        "item_id": ["1", "2", "3"],
        "user_id": [str(other.id)],
        "name": jobs,
        "screen": ["overview", "jobs", "sessions", "streams"],
    }
    return people, ids
