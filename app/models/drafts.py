"""What a person typed into a form of a deal and has not saved."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId

DRAFT_FORMS = ("finding", "item", "deal", "member")


class Draft(Base):
    """`form` and `item_id` name the form; `tab` is empty but for something new, which can be begun in several tabs at once."""

    __tablename__ = "drafts"
    __table_args__ = (
        UniqueConstraint("user_id", "deal_id", "form", "item_id", "tab"),
        CheckConstraint(f"form IN {DRAFT_FORMS!r}", name="form"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    deal_id: Mapped[int] = mapped_column(ForeignKey("deals.id", ondelete="CASCADE"), index=True)
    form: Mapped[str] = mapped_column(String(10))
    # 0: none. Not NULL, which no unique constraint compares.
    item_id: Mapped[int] = mapped_column(BigId, server_default=sql("0"))
    tab: Mapped[str] = mapped_column(String(32), server_default="")
    # What the person typed, and nothing else: it is theirs, whatever becomes of their access.
    fields: Mapped[dict[str, Any]]
    # What the fields said when the form was drawn: the deal's, shown only to who sees it.
    drawn: Mapped[dict[str, Any]]
    first_words: Mapped[str] = mapped_column(String(200), server_default="")
    # Of the item, which they were typed on.
    item_version: Mapped[int | None]
    # Of the text; whoever writes says which one they go on from.
    version: Mapped[int]
    # The tab that wrote last.
    writer: Mapped[str] = mapped_column(String(32))
    device: Mapped[str] = mapped_column(String(60), server_default="")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime] = mapped_column(index=True)
    # Since when the sweep knows that its person does not see the deal any more.
    unseen_since: Mapped[datetime | None]
    discarded_at: Mapped[datetime | None]
