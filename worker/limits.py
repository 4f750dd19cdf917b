"""The worker's time limits. Stopping takes `grace` plus `end`, together well below the ten seconds that process managers allow."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class WorkerLimits:
    """The defaults are production's; tests use shorter ones."""

    # How often SQL is asked what is due, queued, or cancelled.
    poll: timedelta = timedelta(seconds=1)
    # A run that arq accepted but did not start by then is started without it: its Redis hangs, or its worker died.
    arq_start: timedelta = timedelta(seconds=3)
    # After an outage of SQL every heartbeat is old for a moment. A process still silent after this is dead.
    suspicion: timedelta = timedelta(seconds=3)
    # When the worker stops, runs may finish within this; the others are queued again.
    grace: timedelta = timedelta(seconds=3)
    # For a cancelled body to end by itself, between two of its transactions.
    cancel: timedelta = timedelta(seconds=3)
    # For a body to end after its task was cancelled.
    end: timedelta = timedelta(seconds=2)


LIMITS = WorkerLimits()
