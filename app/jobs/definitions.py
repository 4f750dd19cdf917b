"""The jobs there are. What each one does stands in the worker, under the same name."""

from dataclasses import dataclass
from datetime import timedelta

from app.core.errors import NotFound
from app.jobs.cron import Cron


@dataclass(frozen=True)
class Job:
    """`cron`: None means on demand. A scheduled job has at most one run under way, of an on-demand one there may be several.

    An attempt that fails, or whose process died, is followed by another after `pause`, doubled each time, up to `tries`.
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
        "Deletes expired sessions, dead logins and old job runs",
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
        tries=1,  # a chain that is broken stays so
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
# Of versions before. Runs they queued still end; people see them as runs of the job that it is now.
FORMER_NAMES = {"import_deals": "import_file"}
# Redis hiccups and restarts of the worker are no news; from here on a run counts as late.
LATE_AFTER = timedelta(minutes=1)


def shown_name(name: str) -> str:
    """What people know the job as."""
    return FORMER_NAMES.get(name, name)


def names_of(name: str) -> list[str]:
    """All names under which runs of this job stand, whichever of them is given."""
    shown = shown_name(name)
    return [shown, *(former for former, now in FORMER_NAMES.items() if now == shown)]


def get_job(name: str) -> Job:
    """Raises `NotFound` for a name that is no job's."""
    if name not in JOBS:
        raise NotFound(f"There is no job called {name!r}. The jobs are {', '.join(JOBS)}.")
    return JOBS[name]
