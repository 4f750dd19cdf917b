"""Web processes side by side, without their pages: what the session protocol is tried on."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from quart import Quart
from sqlalchemy import text

from app.core.config import load_settings
from app.resources import Resources, make_resources
from app.sessions.manager import Loaded
from app.sessions.record import Record
from app.sessions.token import hash_token
from tests.conftest import STANDSTILL_SECONDS
from tests.factories import make_login, make_user
from tests.fakes import FakeClock
from tests.integration.desk import Desk

TOKEN = "a token"
KEY = hash_token(TOKEN)

StartServer = Callable[..., Awaitable[Resources]]


@pytest.fixture
async def servers(environ: dict[str, str], clock: FakeClock) -> AsyncIterator[StartServer]:
    """`await servers()`: what one more web process holds, on the same database and Redis unless `redis_url` says otherwise."""
    async with AsyncExitStack() as stack:

        async def start(redis_url: str | None = None) -> Resources:
            changed = environ if redis_url is None else environ | {"REDIS_URL": redis_url}
            resources = make_resources(load_settings(changed), kind="web", clock=clock)
            await resources.open()
            resources.backend.standstill.limit = STANDSTILL_SECONDS
            stack.push_async_callback(resources.close)
            return resources

        yield start


@pytest.fixture
async def resources(servers: StartServer, clock: FakeClock) -> Resources:
    resources = await servers()
    await sign_in(resources)
    return resources


async def sign_in(resources: Resources) -> None:
    now = resources.clock.now()
    login = await make_login(resources.database, await make_user(resources.database), token=TOKEN, at=now)
    async with resources.database.write() as db:
        await resources.sessions.insert(db, login=login, data={"n": 0}, now=now)


async def set_key(resources: Resources, key: str, value: object, loaded: Loaded | None = None) -> Record:
    record = await resources.sessions.write(loaded or await resources.sessions.read(KEY), lambda data: data | {key: value})
    assert record is not None
    return record


async def waits_for_a_row(resources: Resources) -> bool:
    """Whether somebody in this PostgreSQL waits for a lock."""
    async with resources.database.read() as db:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return bool(await db.scalar(text(waiting)))


@pytest.fixture
async def desk(app: Quart) -> Desk:
    return await Desk.set(app)
