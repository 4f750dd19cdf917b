"""The tables, one file per aggregate; importing this package registers all of them."""

from app.models.base import Base
from app.models.deals import STAGES, Deal, Member, Pin, Visit
from app.models.events import Event, Outbox, Switch
from app.models.imports import Import, ImportPiece, ImportProblem
from app.models.links import OneTimeLink
from app.models.people import Organisation, User
from app.models.sessions import Login, LoginAttempt, Process, Session, SessionBackend

__all__ = [
    "STAGES",
    "Base",
    "Deal",
    "Event",
    "Import",
    "ImportPiece",
    "ImportProblem",
    "Login",
    "LoginAttempt",
    "Member",
    "OneTimeLink",
    "Organisation",
    "Outbox",
    "Pin",
    "Process",
    "Session",
    "SessionBackend",
    "Switch",
    "User",
    "Visit",
]
