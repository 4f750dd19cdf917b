"""The rules that rows keep by themselves."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from app.models import User
from app.models.base import UtcDateTime

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def user() -> User:
    return User(last_deal_version=0)


def test_user_remembers_the_deal_chosen_last() -> None:
    person = user()
    assert person.get_last_deal() is None
    person.update_last_deal(7, at=NOON)
    person.update_last_deal(8, at=NOON + timedelta(hours=1))
    assert person.get_last_deal() == 8
    assert person.last_deal_accessed_at == NOON + timedelta(hours=1)


def test_user_who_clears_has_nothing_to_come_back_to() -> None:
    person = user()
    person.update_last_deal(7, at=NOON)
    person.clear_last_deal(at=NOON)
    assert person.get_last_deal() is None
    assert person.last_deal_accessed_at is None
    assert person.last_deal_cleared_at == NOON


def test_selecting_again_ends_a_clear() -> None:
    person = user()
    person.clear_last_deal(at=NOON)
    person.update_last_deal(7, at=NOON)
    assert person.last_deal_cleared_at is None


def test_every_change_of_the_last_deal_has_a_higher_version() -> None:
    person = user()
    versions = [person.last_deal_version]
    for _ in range(2):
        person.update_last_deal(7, at=NOON)
        versions.append(person.last_deal_version)
        person.clear_last_deal(at=NOON)
        versions.append(person.last_deal_version)
    assert versions == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("url", ["sqlite+aiosqlite://", "postgresql+asyncpg://"])
def test_times_come_back_as_the_same_moment_in_utc(url: str) -> None:
    dialect = create_async_engine(url).dialect
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    stored = UtcDateTime().process_bind_param(elsewhere, dialect)
    back = UtcDateTime().process_result_value(stored, dialect)
    assert back == NOON
    assert back.tzinfo is UTC


def test_naive_times_never_reach_the_database() -> None:
    dialect = create_async_engine("sqlite+aiosqlite://").dialect
    with pytest.raises(ValueError, match="naive"):
        UtcDateTime().process_bind_param(datetime(2026, 3, 1), dialect)  # noqa: DTZ001
