"""When jobs are due, in their zone, across the nights in which its clock is put forward and back."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from arq.cron import cron as arq_cron

from app.core.errors import NotFound
from app.jobs.cron import Cron
from app.jobs.definitions import JOBS, get_job
from worker.jobs import BODIES

UTC_ZONE, PARIS, TOKYO = ZoneInfo("UTC"), ZoneInfo("Europe/Paris"), ZoneInfo("Asia/Tokyo")
SUNDAY, NIGHTLY, OFTEN = Cron(hour=2, weekday="sun"), Cron(hour=3), Cron(minute=(0, 20, 40))


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


@pytest.mark.parametrize("job", [job for job in JOBS.values() if job.cron], ids=lambda job: job.name)
def test_schedule_is_written_in_words_that_arq_reads(job: object) -> None:
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
