"""Everything known of the deals in a list, in the list's own order, a batch at a time."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import aliased

from app.core.statements import fetch
from app.deals.listing import ListQuery, conditions, filters_of, order_of, values_of
from app.deals.store import SHOWN_ALONE, summaries
from app.http.cursors import beyond, in_order
from app.models import NOW, USER_ID, Deal, User
from app.resources import Resources

# One batch is one read, so that nobody waits for all of it; who may see what is asked with each.
BATCH = 500


async def export_deals(resources: Resources, user_id: int, query: ListQuery) -> AsyncIterator[Sequence[Row[Any]]]:
    """The deals this person may see that `query` asks for, without its pages. Each row has `owner_name` too."""
    key, descending, _ = order_of(query.sort, query.q)
    owner = aliased(User)
    columns = (*SHOWN_ALONE, owner.name.label("owner_name"), key.label("sort_key"))
    wanted = summaries(USER_ID, *columns, now=NOW).outerjoin(owner, owner.id == Deal.owner_id)
    wanted = wanted.where(*conditions(filters_of(query), query.q)).order_by(*in_order(key, Deal.id, descending=descending)).limit(BATCH)
    last: tuple[Any, int] | None = None
    while True:
        batch = wanted if last is None else wanted.where(beyond(key, Deal.id, last, descending=descending))
        async with resources.database.read() as db:
            rows = await fetch(db, batch, user_id=user_id, now=resources.clock.now(), **values_of(query))
        if rows:
            yield rows
            last = (rows[-1].sort_key, rows[-1].id)
        if len(rows) < BATCH:
            return
