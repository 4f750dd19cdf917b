"""Everything known of the deals in a list, in the list's own order, a batch at a time."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import aliased

from app.deals.listing import ListQuery, conditions, order_of
from app.deals.store import SHOWN_ALONE, summaries
from app.http.cursors import beyond, in_order
from app.models import Deal, User
from app.resources import Resources

# One batch is one read, so that nobody waits for all of it; who may see what is asked with each.
BATCH = 500


async def export_deals(resources: Resources, user_id: int, query: ListQuery) -> AsyncIterator[Sequence[Row[Any]]]:
    """The deals this person may see that `query` asks for, without its pages. Each row has `owner_name` too."""
    key, descending, _ = order_of(query)
    owner = aliased(User)
    last: tuple[Any, int] | None = None
    while True:
        columns = (*SHOWN_ALONE, owner.name.label("owner_name"), key.label("sort_key"))
        wanted = (
            summaries(user_id, *columns, now=resources.clock.now()).outerjoin(owner, owner.id == Deal.owner_id).where(*conditions(query))
        )
        if last is not None:
            wanted = wanted.where(beyond(key, Deal.id, last, descending=descending))
        async with resources.database.read() as db:
            rows = (await db.execute(wanted.order_by(*in_order(key, Deal.id, descending=descending)).limit(BATCH))).all()
        if rows:
            yield rows
            last = (rows[-1].sort_key, rows[-1].id)
        if len(rows) < BATCH:
            return
