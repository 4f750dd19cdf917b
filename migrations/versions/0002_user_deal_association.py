"""Each person's last deal, so that a new session opens where the old one ended.

Going back forgets every last deal; the people and the deals stay.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    # The reference stands inline on its column: that is what SQLite can add, and later drop, without rebuilding the table.
    # SQLAlchemy's reflection overlooks the ON DELETE of such a reference: a later batch that rebuilds users must say it again.
    column_type = "BIGINT" if op.get_context().dialect.name == "postgresql" else "INTEGER"
    op.execute(
        f"ALTER TABLE users ADD COLUMN last_deal_id {column_type} CONSTRAINT fk_users_last_deal_id REFERENCES deals (id) ON DELETE SET NULL"
    )
    op.add_column("users", sa.Column("last_deal_accessed_at", moment))
    op.add_column("users", sa.Column("last_deal_version", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.add_column("users", sa.Column("last_deal_cleared_at", moment))
    op.add_column("users", sa.Column("remember_last_deal", sa.Boolean, nullable=False, server_default=sa.true()))
    op.create_index("idx_users_last_deal", "users", ["last_deal_id"])


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS idx_users_last_deal")
    for column in ("last_deal_accessed_at", "last_deal_id", "last_deal_version", "last_deal_cleared_at", "remember_last_deal"):
        op.execute(f"ALTER TABLE users DROP COLUMN {column}")
