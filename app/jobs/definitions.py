"""The jobs. `worker/jobs.py` has a function of the same name for each."""

from dataclasses import dataclass
from datetime import timedelta

from app.core.errors import NotFound
from app.jobs.cron import Cron


@dataclass(frozen=True)
class Job:
    """`cron`: None means on demand. A scheduled job has at most one active run; an on-demand job may have several.

    A failed attempt, or one whose process died, is retried after `pause`, doubled each time, up to `tries`.
    """

    name: str
    summary: str
    cron: Cron | None
    timeout: timedelta
    tries: int = 3
    pause: timedelta = timedelta(seconds=30)


_ALL = (
    Job(
        "expire_sessions",
        "Deletes expired sessions, dead logins, old job runs and old drafts",
        Cron(hour=3),
        timeout=timedelta(minutes=15),
    ),
    Job(
        "sweep_stale_deals",
        "Forgets last deals that are gone or no longer shared, and empties the 30-day bin",
        Cron(hour=2, weekday="sun"),
        timeout=timedelta(minutes=15),
    ),
    Job(
        "check_session_backend",
        "Records what the probe sees of Redis and of the backend flag",
        Cron(minute=tuple(range(0, 60, 5))),
        timeout=timedelta(seconds=30),
        tries=1,  # the next one is five minutes away
    ),
    Job(
        "roll_up_analytics",
        "Adds up restores and selections per hour and organisation",
        Cron(),
        timeout=timedelta(minutes=5),
    ),
    Job(
        "verify_audit_chain",
        "Checks that no row of the audit trail was changed, and names the first that was",
        Cron(hour=4),
        timeout=timedelta(minutes=30),
        tries=1,  # a broken chain stays broken
    ),
    Job(
        "import_file",
        "Imports deals from an uploaded workbook or text file",
        None,
        timeout=timedelta(hours=1),
    ),
    Job(
        "import_deals",
        "The same for a file that a version before workbooks took, whose workers cannot read ours",
        None,
        timeout=timedelta(hours=1),
    ),
)
JOBS = {job.name: job for job in _ALL}
# Names of earlier versions. Runs they queued still end; people see them as runs of today's job.
FORMER_NAMES = {"import_deals": "import_file"}
# Short Redis outages and worker restarts do not count; from here on a run is late.
LATE_AFTER = timedelta(minutes=1)


def shown_name(name: str) -> str:
    """What people know the job as."""
    return FORMER_NAMES.get(name, name)


def names_of(name: str) -> list[str]:
    """All names under which runs of this job stand, whichever of them is given."""
    shown = shown_name(name)
    return [shown, *(former for former, now in FORMER_NAMES.items() if now == shown)]


def get_job(name: str) -> Job:
    """Raises `NotFound` for an unknown name."""
    if name not in JOBS:
        raise NotFound(f"There is no job called {name!r}. The jobs are {', '.join(JOBS)}.")
    return JOBS[name]
