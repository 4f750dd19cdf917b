"""What the web processes counted by minute, and the operators' and the fleet's own events by kind."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

COUNTS = (
    *("requests", "failures", "reads_redis", "reads_sql", "reads_redis_failed"),
    *("restored", "only_deal", "restores_refused", "restores_failed", "nothing_to_restore", "selected", "selections_refused"),
    *("restore_within_1ms", "restore_within_2_5ms", "restore_within_5ms", "restore_within_10ms", "restore_within_25ms"),
    *("restore_within_50ms", "restore_within_100ms", "restore_within_250ms", "restore_within_1s", "restore_within_5s", "restore_over_5s"),
)


def upgrade() -> None:
    op.create_table(
        "traffic",
        sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0")) for name in COUNTS),
    )
    op.create_index(
        "ix_events_operations",
        "events",
        ["kind", "id"],
        sqlite_where=sa.text("organisation_id IS NULL"),
        postgresql_where=sa.text("organisation_id IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_events_operations", "events")
    op.drop_table("traffic")
