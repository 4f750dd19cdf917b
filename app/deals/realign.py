"""What a change of access does to live sessions, decided inside the transaction that makes it."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.current_deal.session_data import clear_restore_backoff, refresh_card, strip_deal
from app.deals.store import forget_last_deal, list_cards
from app.sessions.record import SessionData


@dataclass
class Realignment:
    """Brings the sessions of some people in line with who sees `deal_id` once the access rows have changed.

    People who still see it keep their place, with an updated card. People who do not lose the deal, and are
    not brought back to it. Call `load` between changing the rows and the sessions, in the same transaction.
    """

    deal_id: int
    people: frozenset[int] = frozenset()
    cards: dict[int, dict[str, Any]] = field(default_factory=dict)

    async def load(self, db: AsyncSession, user_ids: Collection[int], *, now: datetime) -> None:
        await db.flush()
        self.people = frozenset(user_ids)
        self.cards = await list_cards(db, self.deal_id, user_ids, now=now)
        if lost := self.people - self.cards.keys():
            await forget_last_deal(db, self.deal_id, lost)

    def change(self, data: SessionData) -> SessionData | None:
        user_id = data.get("user", {}).get("id")
        if user_id not in self.people:
            return None
        card, changed = self.cards.get(user_id), data
        if data.get("current_deal_id") == self.deal_id:
            changed = (refresh_card(data, **card) or data) if card else strip_deal(data)
        if card:
            changed = clear_restore_backoff(changed) or changed
        return changed if changed != data else None
