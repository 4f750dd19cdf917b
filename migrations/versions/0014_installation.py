"""Who this installation is in a Redis it shares: a random id, and what its keys begin with.

Where somebody is at work already the keys keep their names, so that processes of the version before find the same ones.
"""

from secrets import token_hex

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

IN_USE = "epoch > 0 OR EXISTS (SELECT 1 FROM users) OR EXISTS (SELECT 1 FROM processes)"


def upgrade() -> None:
    op.add_column("session_backend", sa.Column("installation_id", sa.String(16), nullable=False, server_default=""))
    op.add_column("session_backend", sa.Column("redis_prefix", sa.String(16), nullable=False, server_default=""))
    op.execute(sa.text("UPDATE session_backend SET installation_id = :id").bindparams(id=token_hex(4)))
    op.execute(f"UPDATE session_backend SET redis_prefix = CASE WHEN {IN_USE} THEN '' ELSE installation_id END")  # noqa: S608  a constant


def downgrade() -> None:
    op.drop_column("session_backend", "redis_prefix")
    op.drop_column("session_backend", "installation_id")
