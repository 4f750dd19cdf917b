"""Somebody else writes to our Redis: he can make us ask SQL, and no more."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from app.core.config import load_settings
from app.core.metrics import METRICS
from app.models import Login
from app.resources import Resources, make_resources
from app.sessions.codec import MAX_BYTES, Codec
from app.sessions.manager import Loaded, Outcome
from app.sessions.record import Record
from app.sessions.token import hash_token
from tests.fakes import FakeClock
from tests.integration.conftest import KEY, set_key
from tests.integration.test_session_orders import row_of
from tests.waiting import until

# What is forged lies in Redis.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

OTHER = hash_token("another token")
UNDER = "hf:s:1:a"


async def read_by(resources: Resources, source: str, *, cookie_version: int = 0) -> Loaded:
    counter = METRICS.session_reads.labels(source)._value
    before = counter.get()
    loaded = await resources.sessions.read(KEY, cookie_version=cookie_version)
    assert counter.get() == before + 1
    return loaded


def key_of(resources: Resources, token_hash: str = KEY, *, epoch: int = 0) -> str:
    assert resources.backend.redis
    return resources.backend.redis.within(epoch or resources.backend.flag.epoch)._key(token_hash)


async def genuine(resources: Resources) -> bytes:
    """What Redis holds of the session at hand."""
    assert resources.redis
    await resources.sessions.read(KEY)
    await read_by(resources, "redis")
    raw: bytes = await resources.redis.commands.get(key_of(resources))
    return raw


async def test_what_we_did_not_write_is_not_served(resources: Resources, clock: FakeClock) -> None:
    assert resources.redis
    commands, raw = resources.redis.commands, await genuine(resources)
    record = (await resources.sessions.read(KEY)).record
    assert isinstance(record, Record)
    far = 2**53
    forged = Record(record.version + 5, record.login_id, record.user_id, far, far, far, {"user": {"is_operator": True}})
    until_ms = clock.unix_ms() + 1000
    by_another_key = Codec(["another secret " * 3]).encode(forged, under=key_of(resources), until_ms=until_ms)
    flipped = bytes([*raw[:40], raw[40] ^ 1, *raw[41:]])
    for bad in (by_another_key, b"R1" + by_another_key[26:], flipped, raw[:-1], raw + b"x", raw[:20], b"R2", b"", b"H" * 200, b"\x00" * 99):
        await commands.set(key_of(resources), bad)
        assert (await read_by(resources, "sql")).record == record
    await commands.set(key_of(resources), raw)
    assert (await read_by(resources, "redis")).record == record


async def test_a_record_counts_under_its_own_key_only(resources: Resources) -> None:
    assert resources.redis
    raw = await genuine(resources)
    await resources.redis.commands.set(key_of(resources, OTHER), raw)
    assert (await resources.sessions.read(OTHER)).outcome is Outcome.GONE
    epoch = resources.backend.flag.epoch
    await resources.backend.fail_over(resources.backend.flag.fence, "a test")
    await resources.backend.probe_redis(timedelta(seconds=2))
    assert resources.backend.view.instance
    assert await resources.backend.begin_epoch(resources.backend.view.instance, "a test")
    assert resources.backend.flag.epoch > epoch
    await resources.redis.commands.set(key_of(resources), raw)
    await read_by(resources, "sql")


async def test_an_older_record_put_back_is_stopped_by_the_version_and_by_its_end(resources: Resources, clock: FakeClock) -> None:
    assert resources.redis
    raw = await genuine(resources)
    newer = await set_key(resources, "n", 1)
    await resources.redis.commands.set(key_of(resources), raw)
    assert (await read_by(resources, "sql", cookie_version=newer.version)).record == newer
    # Where no version is known it is believed as long as it would have been, and a minute for the clocks (docs/sessions.md).
    clock.advance(timedelta(seconds=361))
    loaded = await read_by(resources, "sql")
    assert loaded.record
    assert loaded.record.data["n"] == 1


async def test_an_entry_longer_than_any_of_ours_is_taken_away(resources: Resources) -> None:
    assert resources.redis
    await resources.redis.commands.set(key_of(resources), b"R2" + b"x" * MAX_BYTES)
    await read_by(resources, "sql")
    await resources.sessions.read(KEY)
    await read_by(resources, "redis")


async def test_keys_of_another_type_and_a_hold_for_ever_cost_a_question_to_sql(resources: Resources) -> None:
    assert resources.redis
    commands, key = resources.redis.commands, key_of(resources)
    await commands.delete(key)
    await commands.rpush(key, "x")  # type: ignore[misc]
    assert (await read_by(resources, "sql")).record
    assert (await set_key(resources, "n", 1)).data["n"] == 1
    await read_by(resources, "redis")
    await commands.set(key, b"H" + b"0" * 32)
    assert (await read_by(resources, "sql")).record
    await set_key(resources, "n", 2)
    assert (await read_by(resources, "redis")).record
    assert (await row_of(resources)).mode == "redis"


@pytest.mark.parametrize(
    "told",
    [str(2**63 - 1), str(2**63), "9" * 15, "9" * 400, "1e300", "inf", "nan", "0x7", "rubbish", "", "-5", "{}.0", " {}", "{}x", "list"],
)
async def test_no_number_of_an_epoch_keeps_everybody_from_redis(resources: Resources, told: str) -> None:
    assert resources.redis
    commands = resources.redis.commands
    epoch = resources.backend.flag.epoch
    key = resources.keys.name("epoch")
    await commands.delete(key)
    await (commands.rpush(key, "x") if told == "list" else commands.set(key, told.format(epoch)))  # type: ignore[misc]
    assert (await resources.sessions.read(KEY)).record

    async def is_told() -> bool:
        await resources.poll.run_once(timedelta(seconds=2))
        return bool(await commands.get(key) == str(resources.backend.flag.epoch).encode())

    await until(is_told)
    assert (await row_of(resources)).mode == "redis"
    await resources.sessions.read(KEY)
    await read_by(resources, "redis")


async def test_an_older_secret_still_proves(environ: dict[str, str], resources: Resources, clock: FakeClock) -> None:
    await genuine(resources)
    rotated = environ | {"SECRET_KEY": "a new secret for tests " * 3, "SECRET_KEY_FALLBACKS": resources.settings.secret_key}
    for secrets, source in ((rotated, "redis"), (rotated | {"SECRET_KEY_FALLBACKS": ""}, "sql")):
        other = make_resources(load_settings(secrets), kind="web", clock=clock)
        await other.open()
        assert (await read_by(other, source)).record
        await other.close()


async def test_a_forged_record_does_not_bring_an_ended_login_back(resources: Resources) -> None:
    assert resources.redis
    raw = await genuine(resources)
    async with resources.database.write() as db:
        await db.execute(update(Login).values(ended_at=resources.clock.now()))
    await resources.redis.commands.set(key_of(resources), raw[:2] + b"\x00" * 16 + raw[18:])
    assert (await read_by(resources, "gone")).outcome is Outcome.GONE


async def test_a_record_that_may_be_believed_for_longer_than_any_is_not(resources: Resources, clock: FakeClock) -> None:
    """As one is that was written while a clock was far ahead."""
    assert resources.redis
    assert resources.backend.redis
    await genuine(resources)
    record = (await resources.sessions.read(KEY)).record
    assert isinstance(record, Record)
    far = resources.backend.redis.codec.encode(record, under=key_of(resources), until_ms=clock.unix_ms() + 86_400_000)
    await resources.redis.commands.set(key_of(resources), far)
    assert (await read_by(resources, "sql")).record == record
