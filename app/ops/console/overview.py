"""What the start page says of jobs and events in a few numbers."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import DeadLetter
from app.ops.jobs.store import count_active, count_missed


@dataclass(frozen=True)
class Work:
    queued: int
    failed: int
    missed: int
    dead: int

    @property
    def failed_words(self) -> str:
        parts = [f"{self.missed} missed"] if self.missed else []
        parts += [f"{self.failed:,} open failures"] if self.failed else []
        return ", ".join(parts) or "none failed, none missed"


async def view_work(db: AsyncSession, now: datetime) -> Work:
    runs = await count_active(db)
    dead = await db.scalar(select(func.count()).select_from(DeadLetter).where(DeadLetter.resolved_at.is_(None))) or 0
    return Work(runs["queued"], runs["failed"], await count_missed(db, now), dead)
