"""The inbox over HTTP."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, request

from app.deals.fields import Identifier
from app.deals.listing import Limit, parse_query
from app.deals.schemas import Body
from app.notices.inbox import Inbox, load_inbox, mark_read
from app.openapi import documented
from app.web import MAX_ID, current_user, read_json, resources, signed_in

inbox = Blueprint("inbox", __name__, url_prefix="/notices")


class InboxQuery(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    limit: Limit = 50
    before: int | None = Field(None, ge=1, le=MAX_ID)


class Read(Body):
    """Up to which `sequence`; without it, all."""

    up_to: Identifier | None = None


@inbox.get("")
@documented("notices", Inbox, query=InboxQuery, problems=(400,))
@signed_in
async def list_() -> dict[str, Any]:
    """What you were told, the latest first, and how much of it is unread."""
    house, query = resources(), parse_query(InboxQuery, request.args)
    async with house.database.read() as db:
        found = await load_inbox(db, current_user().id, before=query.before, limit=query.limit, now=house.clock.now())
    return found.model_dump(mode="json")


@inbox.post("/read")
@documented("notices", status=204, body=Read, problems=(400, 413, 415))
@signed_in
async def read() -> tuple[str, int]:
    """You have read them."""
    house, asked = resources(), await read_json(Read)
    async with house.database.write() as db:
        await mark_read(db, current_user().id, up_to=asked.up_to, now=house.clock.now())
    return "", 204
