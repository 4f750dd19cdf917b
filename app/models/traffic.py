"""What the web processes counted, added up by minute, so that a console can draw it from SQL alone."""

from sqlalchemy import BigInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


def _count() -> Mapped[int]:
    return mapped_column(server_default=text("0"))


class Traffic(Base):
    """One row a minute for all processes together: each adds its own. `restore_within_…` count attempts by how long they took."""

    __tablename__ = "traffic"

    # Of the Unix epoch, as a number: both databases then divide it into buckets alike.
    minute: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    requests: Mapped[int] = _count()
    failures: Mapped[int] = _count()
    reads_redis: Mapped[int] = _count()
    reads_sql: Mapped[int] = _count()
    reads_redis_failed: Mapped[int] = _count()
    restored: Mapped[int] = _count()
    only_deal: Mapped[int] = _count()
    restores_refused: Mapped[int] = _count()
    restores_failed: Mapped[int] = _count()
    nothing_to_restore: Mapped[int] = _count()
    selected: Mapped[int] = _count()
    selections_refused: Mapped[int] = _count()
    restore_within_1ms: Mapped[int] = _count()
    restore_within_2_5ms: Mapped[int] = _count()
    restore_within_5ms: Mapped[int] = _count()
    restore_within_10ms: Mapped[int] = _count()
    restore_within_25ms: Mapped[int] = _count()
    restore_within_50ms: Mapped[int] = _count()
    restore_within_100ms: Mapped[int] = _count()
    restore_within_250ms: Mapped[int] = _count()
    restore_within_1s: Mapped[int] = _count()
    restore_within_5s: Mapped[int] = _count()
    restore_over_5s: Mapped[int] = _count()
