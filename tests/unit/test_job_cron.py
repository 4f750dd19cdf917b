"""When jobs are due, in their zone, across the nights in which its clock is put forward and back."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from arq.cron import cron as arq_cron

from app.core.errors import NotFound
from app.jobs.cron import Cron
from app.jobs.definitions import JOBS, get_job
from worker.jobs import BODIES

UTC_ZONE, PARIS, TOKYO, CHATHAM = (ZoneInfo(name) for name in ("UTC", "Europe/Paris", "Asia/Tokyo", "Pacific/Chatham"))
SUNDAY, NIGHTLY, OFTEN = Cron(hour=2, weekday="sun"), Cron(hour=3), Cron(minute=(0, 20, 40))
QUARTER_PAST = Cron(hour=2, minute=(15,))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "zone", "after", "due"),
    [
        (SUNDAY, UTC_ZONE, "2026-11-22 01:59:30.5", "2026-11-22 02:00"),
        (SUNDAY, UTC_ZONE, "2026-11-22 02:00", "2026-11-29 02:00"),
        (NIGHTLY, TOKYO, "2026-11-22 12:00", "2026-11-22 18:00"),
        # On this Sunday there is no 02:00 in Paris: the clock goes from there to 03:00, which is 01:00 UTC.
        (SUNDAY, PARIS, "2026-03-28 12:00", "2026-03-29 01:00"),
        # On this one there are two; the first counts, and the second is no reason to run again.
        (SUNDAY, PARIS, "2026-10-24 12:00", "2026-10-25 00:00"),
        (SUNDAY, PARIS, "2026-10-25 00:00", "2026-11-01 01:00"),
        (SUNDAY, PARIS, "2026-10-25 01:00", "2026-11-01 01:00"),
        # The same for a time within the skipped hour, and where the clock skips from 02:45 to 03:45.
        (QUARTER_PAST, PARIS, "2026-03-28 12:00", "2026-03-29 01:00"),
        (NIGHTLY, CHATHAM, "2026-09-26 00:00", "2026-09-26 14:00"),
        (QUARTER_PAST, PARIS, "2026-10-25 00:15", "2026-10-26 01:15"),
        # By the hour of UTC, so that the hour which Paris has twice is seen twice.
        (OFTEN, PARIS, "2026-10-25 00:40", "2026-10-25 01:00"),
        (OFTEN, PARIS, "2026-10-25 01:00", "2026-10-25 01:20"),
    ],
)
def test_next_due_time(cron: Cron, zone: ZoneInfo, after: str, due: str) -> None:
    assert cron.next_after(at(after), cron.zone(zone)) == at(due)


def test_last_of_many_missed_due_times_is_found_at_once() -> None:
    long_ago = at("2020-01-05 02:00")
    assert SUNDAY.last_until(at("2026-11-24 08:00"), UTC_ZONE, since=long_ago) == at("2026-11-22 02:00")
    assert OFTEN.last_until(at("2026-11-24 08:41"), UTC_ZONE, since=long_ago) == at("2026-11-24 08:40")
    assert NIGHTLY.last_until(at("2026-11-24 03:00"), UTC_ZONE, since=at("2026-11-24 03:00")) == at("2026-11-24 03:00")
    # In the second of the two hours of that night, the first one's time is the last.
    assert QUARTER_PAST.last_until(at("2026-10-25 01:00"), PARIS, since=at("2026-10-24 00:15")) == at("2026-10-25 00:15")


@pytest.mark.parametrize("job", [job for job in JOBS.values() if job.cron], ids=lambda job: job.name)
def test_stored_schedule_means_the_same_to_a_worker_of_the_version_before(job: object) -> None:
    """That version gives the stored words to arq's cron()."""
    assert hasattr(job, "cron")
    cron: Cron = job.cron
    assert Cron.parse(str(cron)) == cron
    words = {"weekday": cron.weekday, "hour": cron.hour, "minute": set(cron.minute)}
    arqs = arq_cron(_nothing, **words, microsecond=0)  # type: ignore[arg-type]
    now = at("2026-11-21 23:30")
    arqs.calculate_next(now)
    assert arqs.next_run == cron.next_after(now, UTC_ZONE)


def test_times_are_said_in_words() -> None:
    assert [job.cron.in_words for job in JOBS.values() if job.cron] == [
        "daily at 03:00",
        "Sundays at 02:00",
        "every 5 minutes",
        "hourly",
        "daily at 04:00",
    ]


def test_unknown_job_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(NotFound, match="sweep_stale_deals"):
        get_job("sweep")


def test_every_job_ends_before_it_is_due_again() -> None:
    for job in JOBS.values():
        if job.cron and job.cron.hour is None:
            assert job.timeout < timedelta(hours=1) / len(job.cron.minute)


async def _nothing(ctx: object) -> None:
    pass


def test_every_job_has_a_body() -> None:
    assert BODIES.keys() == JOBS.keys()
