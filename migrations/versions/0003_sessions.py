"""Logins and their sessions, the flag that says whether Redis may be believed, and its fence."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.DateTime(timezone=True)

# The lock first and alone, in a statement of its own: under READ COMMITTED the next statement of a VOLATILE function takes
# a new snapshot, so it sees every rise of the flag that was committed while this one waited.
SESSION_FENCE = """
CREATE FUNCTION session_fence(expected_mode text, expected_epoch bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7301);
    RETURN EXISTS (SELECT 1 FROM session_backend WHERE id = 1 AND mode = expected_mode AND epoch = expected_epoch);
END
$$
"""


def upgrade() -> None:
    op.create_table(
        "logins",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("user_id", big_id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.Column("idle_expires_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False, index=True),
        sa.Column("ended_at", moment),
        sa.Column("keep_signed_in", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("user_agent", sa.String(300), nullable=False, server_default=""),
        sa.Column("address", sa.String(64), nullable=False, server_default=""),
    )
    op.create_table(
        "sessions",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("login_id", big_id, sa.ForeignKey("logins.id", ondelete="CASCADE"), nullable=False, unique=True),
        sa.Column("user_id", big_id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("current_deal_id", big_id, sa.ForeignKey("deals.id", ondelete="SET NULL"), index=True),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("touched_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False, index=True),
    )
    backend = op.create_table(
        "session_backend",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("mode", sa.String(10), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("redis_run_id", sa.String(64)),
        sa.Column("redis_replid", sa.String(64)),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("changed_at", moment, nullable=False),
        sa.Column("changed_by", sa.String(120), nullable=False, server_default=""),
        sa.CheckConstraint("id = 1", name="one_row"),
        sa.CheckConstraint("mode IN ('redis', 'sql')", name="mode"),
    )
    op.bulk_insert(
        backend,
        [{"id": 1, "mode": "sql", "epoch": 0, "reason": "first start", "changed_at": datetime.now(UTC), "changed_by": "migration"}],
    )
    op.create_table(
        "processes",
        sa.Column("id", sa.String(120), primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("version", sa.String(40), nullable=False),
        sa.Column("started_at", moment, nullable=False),
        sa.Column("heartbeat_at", moment, nullable=False, index=True),
        sa.Column("pinned", sa.String(10), nullable=False, server_default="auto"),
        sa.Column("redis_run_id", sa.String(64), nullable=True),
        sa.Column("redis_ok_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("redis_fault", sa.String(200), nullable=False, server_default=""),
        sa.Column("breaker", sa.String(10), nullable=False, server_default="closed"),
    )
    op.create_table(
        "login_attempts",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("first_failed_at", moment, nullable=False),
        sa.Column("blocked_until", moment),
    )
    if op.get_context().dialect.name == "postgresql":
        op.execute(SESSION_FENCE)


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION session_fence(text, bigint)")
    for table in ("login_attempts", "processes", "session_backend", "sessions", "logins"):
        op.drop_table(table)
