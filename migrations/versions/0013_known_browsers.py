"""Browsers that signed in before, whose sign-in nobody else's failures slow down."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "known_browsers",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("user_id", big_id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("used_at", moment, nullable=False),
        sa.Index("ix_known_browsers_user_id", "user_id"),
    )


def downgrade() -> None:
    op.drop_table("known_browsers")
