"""What one request has to remember about sessions, its own and others, so that nothing in between has to hand it on."""

from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class RequestNotes:
    # Redis failed this request once already; it is not asked again on its behalf.
    redis_failed: bool = False
    # The sessions that were changed on its behalf, by token hash, at the version they have now: its own may be among them.
    changed: dict[str, int] = field(default_factory=dict)


_notes: ContextVar[RequestNotes | None] = ContextVar("session_notes", default=None)


def begin_notes() -> RequestNotes:
    """A new request begins in this task."""
    notes = RequestNotes()
    _notes.set(notes)
    return notes


def notes_of_request() -> RequestNotes:
    """Those of the request at hand, also in the tasks it starts; outside of one, notes that nobody reads."""
    return _notes.get() or RequestNotes()
