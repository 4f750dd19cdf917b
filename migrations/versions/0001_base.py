"""Organisations, their people, their deals, who may see them, and where each person has been."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "organisations",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("created_at", moment, nullable=False),
    )
    op.create_table(
        "users",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("organisation_id", big_id, sa.ForeignKey("organisations.id"), nullable=False, index=True),
        sa.Column("email", sa.String(320), nullable=False, unique=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("password_hash", sa.String(200), nullable=False),
        sa.Column("role", sa.String(10), nullable=False, server_default="member"),
        sa.Column("is_operator", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("disabled_at", moment),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("auth_version", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("start_at", sa.String(10), nullable=False, server_default="last_deal"),
        sa.Column("theme", sa.String(10), nullable=False, server_default="system"),
        sa.CheckConstraint("role IN ('admin', 'member')", name="role"),
        sa.CheckConstraint("start_at IN ('last_deal', 'list')", name="start_at"),
        sa.CheckConstraint("theme IN ('system', 'light', 'dark')", name="theme"),
    )
    op.create_table(
        "deals",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("organisation_id", big_id, sa.ForeignKey("organisations.id"), nullable=False),
        sa.Column("owner_id", big_id, sa.ForeignKey("users.id", ondelete="SET NULL"), index=True),
        sa.Column("external_ref", sa.String(200)),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("acquirer", sa.String(200), nullable=False, server_default=""),
        sa.Column("stage", sa.String(20), nullable=False, server_default="diligence"),
        sa.Column("status", sa.String(40), nullable=False, server_default=""),
        sa.Column("terms", sa.String(80), nullable=False, server_default=""),
        sa.Column("price_usd", sa.BigInteger),
        sa.Column("announced_on", sa.Date),
        sa.Column("announced_year", sa.Integer),
        sa.Column("tagline", sa.Text, nullable=False, server_default=""),
        sa.Column("categories", sa.Text, nullable=False, server_default=""),
        sa.Column("founded_year", sa.Integer),
        sa.Column("city", sa.String(120), nullable=False, server_default=""),
        sa.Column("region", sa.String(120), nullable=False, server_default=""),
        sa.Column("country", sa.String(120), nullable=False, server_default=""),
        sa.Column("homepage", sa.Text, nullable=False, server_default=""),
        sa.Column("profile_url", sa.Text, nullable=False, server_default=""),
        sa.Column("news_title", sa.Text, nullable=False, server_default=""),
        sa.Column("news_url", sa.Text, nullable=False, server_default=""),
        sa.Column("version", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("archived_at", moment),
        sa.Column("deleted_at", moment, index=True),
        sa.UniqueConstraint("organisation_id", "external_ref"),
        sa.CheckConstraint("stage IN ('sourcing', 'diligence', 'negotiation', 'signing', 'closed')", name="stage"),
        sa.Index("ix_deals_organisation_id_announced_on_id", "organisation_id", "announced_on", "id"),
        sa.Index("ix_deals_organisation_id_name_id", "organisation_id", "name", "id"),
    )
    op.create_table(
        "members",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("deal_id", big_id, sa.ForeignKey("deals.id", ondelete="CASCADE"), nullable=False),
        sa.Column("user_id", big_id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("role", sa.String(10), nullable=False),
        sa.Column("granted_by_id", big_id, sa.ForeignKey("users.id", ondelete="SET NULL"), index=True),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment, index=True),
        sa.UniqueConstraint("deal_id", "user_id"),
        sa.CheckConstraint("role IN ('editor', 'viewer')", name="role"),
    )
    op.create_table(
        "visits",
        sa.Column("user_id", big_id, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("deal_id", big_id, sa.ForeignKey("deals.id", ondelete="CASCADE"), primary_key=True, index=True),
        sa.Column("visited_at", moment, nullable=False),
        sa.Index("ix_visits_user_id_visited_at", "user_id", "visited_at"),
    )
    op.create_table(
        "pins",
        sa.Column("user_id", big_id, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("deal_id", big_id, sa.ForeignKey("deals.id", ondelete="CASCADE"), primary_key=True, index=True),
        sa.Column("pinned_at", moment, nullable=False),
    )


def downgrade() -> None:
    for table in ("pins", "visits", "members", "deals", "users", "organisations"):
        op.drop_table(table)
