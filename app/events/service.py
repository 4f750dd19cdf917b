"""Writes the audit trail. An event is a row in the transaction of the change it describes, so both commit or neither."""

from datetime import datetime
from typing import Any

from sqlalchemy import insert
from structlog.contextvars import get_contextvars

from app.core.statements import Running, run
from app.core.transactions import Transaction
from app.models import Event

_INSERT = insert(Event).inline()


def event_row(
    kind: str,
    *,
    at: datetime,
    organisation_id: int | None = None,
    actor_id: int | None = None,
    user_id: int | None = None,
    deal_id: int | None = None,
    **payload: Any,
) -> dict[str, Any]:
    """The values of one event. `user_id` is whom it concerns, `actor_id` who did it; `payload` holds ids and codes, no names."""
    return {
        "kind": kind,
        "at": at,
        "organisation_id": organisation_id,
        "actor_id": actor_id,
        "user_id": user_id,
        "deal_id": deal_id,
        "request_id": get_contextvars().get("request_id", ""),
        "payload": payload,
    }


def is_audited(db: Running) -> bool:
    """Whether this installation keeps an audit trail (AUDIT_ENABLED)."""
    return db.audit if isinstance(db, Transaction) else bool(db.info.get("audit", True))


async def record_event(db: Running, kind: str, **values: Any) -> None:
    """Insert `event_row(kind, **values)`. The outbox row that the relay needs is added by a trigger."""
    if is_audited(db):
        await record_always(db, kind, **values)


async def record_always(db: Running, kind: str, **values: Any) -> None:
    """The same where no audit trail is kept, too: for what the site itself goes by."""
    await run(db, _INSERT, **event_row(kind, **values))
