"""How long the worker waits for what. Stopping adds up `grace` and `end`, which together stay well below the ten seconds
in which a process manager expects us gone."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class WorkerLimits:
    """As they are in production; tests are in more of a hurry."""

    # How often SQL is asked what is due, queued, or cancelled.
    poll: timedelta = timedelta(seconds=1)
    # A run that arq accepted and did not start by then is started without it: its Redis hangs, or its worker died.
    arq_start: timedelta = timedelta(seconds=3)
    # After an outage of SQL every heartbeat is old for a moment. Whoever is still silent after this is dead.
    suspicion: timedelta = timedelta(seconds=3)
    # What is done by then when the worker stops is done; the rest is queued again.
    grace: timedelta = timedelta(seconds=3)
    # For a cancelled body to end by itself, between two of its transactions.
    cancel: timedelta = timedelta(seconds=3)
    # For a body that is told to end to do so.
    end: timedelta = timedelta(seconds=2)


LIMITS = WorkerLimits()
