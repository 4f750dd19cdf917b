"""What another version wrote into Redis or a session, read without any server. tests/integration/test_json_at_rest.py has the rest."""

from datetime import UTC, datetime

import msgspec

from app.core.clock import to_unix_ms
from app.core.stored_json import from_json
from app.http.web import UserCard
from app.sessions.codec import Codec, _prove
from app.sessions.record import Record
from worker.arq_queue import run_job

NEW = {"from_another_version": {"nested": [1, {"x": None}]}}


def test_record_of_another_version_may_have_more_in_it() -> None:
    now, codec = to_unix_ms(datetime(2026, 1, 1, tzinfo=UTC)), Codec(["a secret"])
    # As codec.py seals, but with one field more than there is here.
    sealed = (now + 1000).to_bytes(8, "big") + msgspec.msgpack.encode([3, 1, 2, 10, 20, 30, {"a": 1} | NEW, "newer"])
    raw = b"R2" + _prove(codec._keys[0], "key", sealed) + sealed
    decoded = codec.decode(raw, under="key", now_ms=now, most_ms=5000)
    assert isinstance(decoded, Record)
    assert decoded.data == {"a": 1} | NEW


def test_card_is_read_by_what_is_known_of_it() -> None:
    whole = dict.fromkeys(UserCard._fields, "x") | NEW
    assert from_json(UserCard, whole) == UserCard._make(["x"] * len(UserCard._fields))
    assert from_json(UserCard, {"id": 1, "email": "a@b", "organisation_id": 2}) == UserCard(1, "a@b", 2)
    assert from_json(UserCard, {"id": 1}) is from_json(UserCard, None) is None


async def test_job_that_arq_says_more_of_than_is_known_here_still_runs() -> None:
    ran = []

    class Runner:
        async def run(self, run_id: int) -> None:
            ran.append(run_id)

    await run_job({"runner": Runner()}, 7, "more", later={})
    assert ran == [7]
