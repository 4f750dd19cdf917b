"""What is typed into the forms of a deal, kept until it is saved."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "drafts",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("user_id", big_id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("deal_id", big_id, sa.ForeignKey("deals.id", ondelete="CASCADE"), nullable=False),
        sa.Column("form", sa.String(10), nullable=False),
        sa.Column("item_id", big_id, nullable=False, server_default=sa.text("0")),
        sa.Column("tab", sa.String(32), nullable=False, server_default=""),
        sa.Column("fields", sa.JSON, nullable=False),
        sa.Column("drawn", sa.JSON, nullable=False),
        sa.Column("first_words", sa.String(200), nullable=False, server_default=""),
        sa.Column("item_version", sa.Integer),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("writer", sa.String(32), nullable=False),
        sa.Column("device", sa.String(60), nullable=False, server_default=""),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("unseen_since", moment),
        sa.Column("discarded_at", moment),
        sa.UniqueConstraint("user_id", "deal_id", "form", "item_id", "tab"),
        sa.CheckConstraint("form IN ('finding', 'item', 'deal', 'member')", name="form"),
        sa.Index("ix_drafts_deal_id", "deal_id"),
        sa.Index("ix_drafts_updated_at", "updated_at"),
    )


def downgrade() -> None:
    op.drop_table("drafts")
