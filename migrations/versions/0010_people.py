"""One-time links for invitations and new passwords, an organisation's own choice on restoring, and an index for its figures.

Going back makes every open link worthless; the people stay.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "one_time_links",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("organisation_id", big_id, sa.ForeignKey("organisations.id"), nullable=False),
        sa.Column("email", sa.String(320), nullable=False, server_default=""),
        sa.Column("role", sa.String(10), nullable=False, server_default="member"),
        sa.Column("user_id", big_id, sa.ForeignKey("users.id", ondelete="CASCADE")),
        sa.Column("created_by_id", big_id, sa.ForeignKey("users.id", ondelete="SET NULL")),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("used_at", moment),
        sa.Column("withdrawn_at", moment),
        sa.CheckConstraint("kind IN ('invitation', 'reset')", name="kind"),
        sa.Index("ix_one_time_links_organisation_id", "organisation_id"),
        sa.Index("ix_one_time_links_user_id", "user_id"),
        sa.Index("ix_one_time_links_created_by_id", "created_by_id"),
    )
    op.add_column("organisations", sa.Column("auto_restore_deal", sa.Boolean, nullable=False, server_default=sa.true()))
    op.create_index("ix_events_organisation_id_kind_at", "events", ["organisation_id", "kind", "at"])


def downgrade() -> None:
    op.drop_index("ix_events_organisation_id_kind_at", "events")
    op.execute("ALTER TABLE organisations DROP COLUMN auto_restore_deal")
    op.drop_table("one_time_links")
