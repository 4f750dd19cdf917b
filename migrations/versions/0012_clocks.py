"""How far each process's machine is ahead of the database's clock."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("processes", sa.Column("clock_skew_ms", sa.BigInteger, nullable=True))


def downgrade() -> None:
    op.drop_column("processes", "clock_skew_ms")
