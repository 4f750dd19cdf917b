"""The schedule of the jobs, every run of them, and the indexes by which the sweeps find what is over."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.DateTime(timezone=True)

SCHEDULED = sa.text("trigger = 'schedule'")
FAILED = sa.text("status = 'failed'")
QUEUED = sa.text("status = 'queued'")
RUNNING = sa.text("status = 'running'")


def upgrade() -> None:
    op.create_table(
        "job_runs",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("trigger", sa.String(10), nullable=False),
        sa.Column("due_at", moment, nullable=False),
        sa.Column("is_late", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("requested_by_id", sa.BigInteger),
        sa.Column("retry_of_id", sa.BigInteger),
        sa.Column("status", sa.String(10), nullable=False, server_default="queued"),
        sa.Column("attempt", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("process_id", sa.String(120)),
        sa.Column("queued_at", moment, nullable=False),
        sa.Column("not_before", moment),
        sa.Column("started_at", moment),
        sa.Column("finished_at", moment),
        sa.Column("took_ms", sa.BigInteger),
        sa.Column("cancel_requested_at", moment),
        sa.Column("done", sa.BigInteger),
        sa.Column("total", sa.BigInteger),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("error_class", sa.String(120)),
        sa.Column("error", sa.Text),
        sa.Column("traceback", sa.Text),
        sa.Column("earlier_attempts", sa.JSON, nullable=False),
        sa.Column("retried_at", moment),
        sa.CheckConstraint("trigger IN ('schedule', 'cli', 'console', 'site', 'retry')", name="trigger"),
        sa.CheckConstraint("status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="status"),
        sa.Index("uq_job_runs_name_due_at", "name", "due_at", unique=True, sqlite_where=SCHEDULED, postgresql_where=SCHEDULED),
        sa.Index("ix_job_runs_name_id", "name", "id"),
        sa.Index("ix_job_runs_status_id", "status", "id"),
        sa.Index("ix_job_runs_name_status_id", "name", "status", "id"),
        sa.Index("ix_job_runs_finished_at", "finished_at"),
        sa.Index("ix_job_runs_took_ms_id", "took_ms", "id"),
        sa.Index("ix_job_runs_queued", "id", sqlite_where=QUEUED, postgresql_where=QUEUED),
        sa.Index("ix_job_runs_running", "id", sqlite_where=RUNNING, postgresql_where=RUNNING),
        sa.Index("ix_job_runs_failures", "name", "error_class", "id", sqlite_where=FAILED, postgresql_where=FAILED),
    )
    op.create_table(
        "job_schedule",
        sa.Column("name", sa.String(60), primary_key=True),
        sa.Column("cron", sa.String(120), nullable=False),
        sa.Column("zone", sa.String(64), nullable=False),
        sa.Column("next_due_at", moment, nullable=False),
        sa.Column("last_due_at", moment),
        sa.Column("last_success_at", moment),
        sa.Column("paused_at", moment),
        sa.Column("paused_by_id", sa.BigInteger),
    )
    op.create_index("ix_logins_idle_expires_at", "logins", ["idle_expires_at"])
    op.create_index("ix_logins_ended_at", "logins", ["ended_at"])


def downgrade() -> None:
    op.drop_index("ix_logins_ended_at", "logins")
    op.drop_index("ix_logins_idle_expires_at", "logins")
    op.drop_table("job_schedule")
    op.drop_table("job_runs")
