"""Findings and checklists, the page each person left a deal on, and what they have seen of it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.DateTime(timezone=True)

SEVERITIES = ("critical", "high", "medium", "low", "info")
STATUSES = ("open", "in_review", "accepted", "resolved")
SEEN = ("findings_seen_at", "checklist_seen_at", "activity_seen_at")


def person(name: str) -> sa.Column[int]:
    return sa.Column(name, big_id, sa.ForeignKey("users.id", ondelete="SET NULL"))


def upgrade() -> None:
    op.create_table(
        "findings",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("deal_id", big_id, sa.ForeignKey("deals.id", ondelete="CASCADE"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("text", sa.Text, nullable=False, server_default=""),
        sa.Column("severity", sa.String(10), nullable=False, server_default="medium"),
        sa.Column("status", sa.String(10), nullable=False, server_default="open"),
        person("owner_id"),
        sa.Column("version", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", moment, nullable=False),
        person("created_by_id"),
        sa.Column("updated_at", moment, nullable=False),
        person("updated_by_id"),
        sa.Column("deleted_at", moment),
        sa.UniqueConstraint("deal_id", "number"),
        sa.CheckConstraint(f"severity IN {SEVERITIES!r}", name="severity"),
        sa.CheckConstraint(f"status IN {STATUSES!r}", name="status"),
        sa.Index("ix_findings_deal_id_updated_at", "deal_id", "updated_at"),
        sa.Index("ix_findings_owner_id", "owner_id"),
        sa.Index("ix_findings_created_by_id", "created_by_id"),
        sa.Index("ix_findings_updated_by_id", "updated_by_id"),
    )
    op.create_table(
        "checklist_items",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("deal_id", big_id, sa.ForeignKey("deals.id", ondelete="CASCADE"), nullable=False),
        sa.Column("section", sa.String(120), nullable=False),
        sa.Column("title", sa.String(300), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        person("owner_id"),
        sa.Column("due_on", sa.Date),
        sa.Column("done_at", moment),
        sa.Column("version", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        person("updated_by_id"),
        sa.Column("deleted_at", moment),
        sa.Index("ix_checklist_items_deal_id_position", "deal_id", "position"),
        sa.Index("ix_checklist_items_owner_id", "owner_id"),
        sa.Index("ix_checklist_items_updated_by_id", "updated_by_id"),
    )
    op.add_column("visits", sa.Column("last_page", sa.String(20), nullable=False, server_default="overview"))
    for name in SEEN:
        op.add_column("visits", sa.Column(name, moment))


def downgrade() -> None:
    for name in (*SEEN, "last_page"):
        op.drop_column("visits", name)
    op.drop_table("checklist_items")
    op.drop_table("findings")
