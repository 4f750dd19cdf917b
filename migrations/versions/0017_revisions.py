"""What findings, checklist items and deals said before each change."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "revisions",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("deal_id", big_id, sa.ForeignKey("deals.id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("item_id", big_id, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("verb", sa.String(20), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by_id", big_id, sa.ForeignKey("users.id", ondelete="SET NULL")),
        sa.Column("before", sa.JSON, nullable=False),
        sa.UniqueConstraint("kind", "item_id", "version"),
        sa.CheckConstraint("kind IN ('finding', 'item', 'deal')", name="kind"),
        sa.Index("ix_revisions_deal_id", "deal_id"),
        sa.Index("ix_revisions_by_id", "by_id"),
    )


def downgrade() -> None:
    op.drop_table("revisions")
