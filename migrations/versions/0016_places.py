"""Where people were on the pages of their deals, and whether they want it kept."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
IN_A_DEAL, IN_NONE = sa.text("deal_id IS NOT NULL"), sa.text("deal_id IS NULL")


def upgrade() -> None:
    op.add_column("users", sa.Column("remember_place", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.create_table(
        "places",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("user_id", big_id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("deal_id", big_id, sa.ForeignKey("deals.id", ondelete="CASCADE")),
        sa.Column("page", sa.String(20), nullable=False),
        sa.Column("listing", sa.JSON()),
        sa.Column("item_id", sa.BigInteger()),
        sa.Column("form", sa.String(10), nullable=False, server_default=""),
        sa.Column("focus", sa.JSON()),
        sa.Column("device", sa.String(60), nullable=False, server_default=""),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Index("ix_places_deal_id", "deal_id"),
        sa.Index("uq_places_of_deals", "user_id", "deal_id", "page", unique=True, sqlite_where=IN_A_DEAL, postgresql_where=IN_A_DEAL),
        sa.Index("uq_places_of_none", "user_id", "page", unique=True, sqlite_where=IN_NONE, postgresql_where=IN_NONE),
    )


def downgrade() -> None:
    op.drop_table("places")
    op.drop_column("users", "remember_place")
