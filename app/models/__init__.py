"""The tables, one file per aggregate; importing this package registers all of them."""

from app.models.base import Base
from app.models.deals import STAGES, Deal, Member, Pin, Visit
from app.models.event_stream import Analytics, DeadLetter, EventEffect, EventMark, EventSeal, NoticeCounter, UserNotice
from app.models.events import Event, Outbox, Switch
from app.models.people import Organisation, User
from app.models.sessions import Login, LoginAttempt, Process, Session, SessionBackend

__all__ = [
    "STAGES",
    "Analytics",
    "Base",
    "DeadLetter",
    "Deal",
    "Event",
    "EventEffect",
    "EventMark",
    "EventSeal",
    "Login",
    "LoginAttempt",
    "Member",
    "NoticeCounter",
    "Organisation",
    "Outbox",
    "Pin",
    "Process",
    "Session",
    "SessionBackend",
    "Switch",
    "User",
    "UserNotice",
    "Visit",
]
