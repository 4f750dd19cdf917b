"""The tables, one file per aggregate; importing this package registers all of them."""

from app.models.base import Base
from app.models.deals import STAGES, Deal, Member, Pin, Place, Visit
from app.models.drafts import DRAFT_FORMS, Draft
from app.models.event_stream import Analytics, DeadLetter, EventEffect, EventMark, EventSeal, NoticeCounter, UserNotice
from app.models.events import Event, Outbox, Switch
from app.models.imports import Import, ImportPiece, ImportProblem
from app.models.jobs import RUN_STATES, TRIGGERS, JobRun, JobSchedule
from app.models.links import OneTimeLink
from app.models.parameters import DEAL_ID, NOW, ROWS, USER_ID
from app.models.people import Organisation, User
from app.models.sessions import KnownBrowser, Login, LoginAttempt, Process, Session, SessionBackend
from app.models.traffic import Traffic
from app.models.work import FINDING_STATUSES, REVISED, SEVERITIES, ChecklistItem, Finding, Revision

__all__ = [
    "DEAL_ID",
    "DRAFT_FORMS",
    "FINDING_STATUSES",
    "NOW",
    "REVISED",
    "ROWS",
    "RUN_STATES",
    "SEVERITIES",
    "STAGES",
    "TRIGGERS",
    "USER_ID",
    "Analytics",
    "Base",
    "ChecklistItem",
    "DeadLetter",
    "Deal",
    "Draft",
    "Event",
    "EventEffect",
    "EventMark",
    "EventSeal",
    "Finding",
    "Import",
    "ImportPiece",
    "ImportProblem",
    "JobRun",
    "JobSchedule",
    "KnownBrowser",
    "Login",
    "LoginAttempt",
    "Member",
    "NoticeCounter",
    "OneTimeLink",
    "Organisation",
    "Outbox",
    "Pin",
    "Place",
    "Process",
    "Revision",
    "Session",
    "SessionBackend",
    "Switch",
    "Traffic",
    "User",
    "UserNotice",
    "Visit",
]
