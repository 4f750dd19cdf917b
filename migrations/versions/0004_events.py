"""The audit trail, which nobody can rewrite, the outbox it fills by itself, and the operators' switches."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.DateTime(timezone=True)

POSTGRESQL = (
    """
    CREATE FUNCTION events_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'events is append-only' USING ERRCODE = 'restrict_violation';
    END
    $$
    """,
    """
    CREATE FUNCTION events_fill_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO outbox (event_id) VALUES (NEW.id);
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER events_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_refuse_change()
    """,
    "CREATE TRIGGER events_fill_outbox AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION events_fill_outbox()",
)

SQLITE = (
    "CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END",
    "CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END",
    # INSERT OR REPLACE deletes the old row without asking the trigger above.
    """
    CREATE TRIGGER events_refuse_replace BEFORE INSERT ON events WHEN EXISTS (SELECT 1 FROM events WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'events is append-only'); END
    """,
    "CREATE TRIGGER events_fill_outbox AFTER INSERT ON events BEGIN INSERT INTO outbox (event_id) VALUES (NEW.id); END",
)


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("kind", sa.String(60), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("organisation_id", sa.BigInteger),
        sa.Column("actor_id", sa.BigInteger),
        sa.Column("user_id", sa.BigInteger),
        sa.Column("deal_id", sa.BigInteger),
        sa.Column("request_id", sa.String(64), nullable=False, server_default=""),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Index("ix_events_deal_id_id", "deal_id", "id"),
        sa.Index("ix_events_user_id_id", "user_id", "id"),
        sa.Index("ix_events_organisation_id_id", "organisation_id", "id"),
    )
    op.create_table("outbox", sa.Column("event_id", big_id, sa.ForeignKey("events.id"), primary_key=True, autoincrement=False))
    op.create_table(
        "switches",
        sa.Column("name", sa.String(60), primary_key=True),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.Column("changed_by", sa.String(120), nullable=False, server_default=""),
    )
    for statement in POSTGRESQL if op.get_context().dialect.name == "postgresql" else SQLITE:
        op.execute(sa.text(statement))


def downgrade() -> None:
    for table in ("switches", "outbox", "events"):
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION events_fill_outbox()")
        op.execute("DROP FUNCTION events_refuse_change()")
