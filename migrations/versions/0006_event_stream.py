"""What is made of the events: the sealed chain, figures, notices, and how far each consumer group has come."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.DateTime(timezone=True)

POSTGRESQL = (
    """
    CREATE FUNCTION event_seals_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'event_seals is append-only' USING ERRCODE = 'restrict_violation';
    END
    $$
    """,
    """
    CREATE TRIGGER event_seals_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON event_seals
    FOR EACH STATEMENT EXECUTE FUNCTION event_seals_refuse_change()
    """,
)

SQLITE = (
    "CREATE TRIGGER event_seals_refuse_update BEFORE UPDATE ON event_seals BEGIN SELECT RAISE(ABORT, 'event_seals is append-only'); END",
    "CREATE TRIGGER event_seals_refuse_delete BEFORE DELETE ON event_seals BEGIN SELECT RAISE(ABORT, 'event_seals is append-only'); END",
    # INSERT OR REPLACE deletes the old row without asking the trigger above.
    """
    CREATE TRIGGER event_seals_refuse_replace BEFORE INSERT ON event_seals WHEN EXISTS (
        SELECT 1 FROM event_seals
        WHERE event_id = NEW.event_id OR (organisation_id = NEW.organisation_id AND sequence = NEW.sequence)
    )
    BEGIN SELECT RAISE(ABORT, 'event_seals is append-only'); END
    """,
)


def upgrade() -> None:
    op.create_table(
        "event_seals",
        sa.Column("organisation_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("event_id", sa.BigInteger, nullable=False, unique=True),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("sealed_at", moment, nullable=False),
    )
    op.create_table(
        "analytics",
        sa.Column("resolution", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("start", moment, primary_key=True),
        sa.Column("organisation_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("measure", sa.String(60), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("total", sa.Float, nullable=False, server_default=sa.text("0")),
    )
    op.create_table(
        "event_effects",
        sa.Column("consumer_group", sa.String(20), primary_key=True),
        sa.Column("event_id", sa.BigInteger, primary_key=True, autoincrement=False),
    )
    op.create_table(
        "event_marks",
        sa.Column("consumer_group", sa.String(20), primary_key=True),
        sa.Column("event_id", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("consumer_group", sa.String(20), nullable=False),
        sa.Column("entry_id", sa.String(60), nullable=False),
        sa.Column("event_id", sa.BigInteger),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("deliveries", sa.Integer, nullable=False),
        sa.Column("dead_at", moment, nullable=False),
        sa.Column("requeued_at", moment),
        sa.Column("requeued_by", sa.String(120), nullable=False, server_default=""),
        sa.Column("resolved_at", moment),
        sa.UniqueConstraint("consumer_group", "entry_id"),
    )
    op.create_table(
        "user_notices",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("user_id", big_id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("event_id", sa.BigInteger, nullable=False),
        sa.Column("actor_id", sa.BigInteger),
        sa.Column("deal_id", sa.BigInteger),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("read_at", moment),
        sa.UniqueConstraint("user_id", "sequence"),
        sa.UniqueConstraint("event_id", "user_id"),
    )
    op.create_table(
        "notice_counters",
        sa.Column("user_id", big_id, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
        sa.Column("last", sa.Integer, nullable=False),
    )
    # The figures begin with the first event there is, but nobody is told today of what happened long ago.
    op.execute("INSERT INTO event_marks (consumer_group, event_id) VALUES ('analytics', 0)")
    op.execute("INSERT INTO event_marks (consumer_group, event_id) SELECT 'notify', COALESCE(MAX(id), 0) FROM events")
    for statement in POSTGRESQL if op.get_context().dialect.name == "postgresql" else SQLITE:
        op.execute(sa.text(statement))


def downgrade() -> None:
    for table in ("notice_counters", "user_notices", "dead_letters", "event_marks", "event_effects", "analytics", "event_seals"):
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION event_seals_refuse_change()")
