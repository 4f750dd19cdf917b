"""A deal of a person's choice to start at.

Going back, those who had chosen one start at what they had before.
"""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    # Inline on its column, as in 0002: SQLite can add and drop it without rebuilding the table.
    column_type = "BIGINT" if op.get_context().dialect.name == "postgresql" else "INTEGER"
    reference = "CONSTRAINT fk_users_start_deal_id REFERENCES deals (id) ON DELETE SET NULL"
    op.execute(f"ALTER TABLE users ADD COLUMN start_deal_id {column_type} {reference}")
    op.create_index("ix_users_start_deal_id", "users", ["start_deal_id"])


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS ix_users_start_deal_id")
    op.execute("ALTER TABLE users DROP COLUMN start_deal_id")
