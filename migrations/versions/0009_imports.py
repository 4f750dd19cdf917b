"""Imports in the browser: the file in pieces, how far it is, the rows to look at, and which deals came of it.

Going back forgets the imports; the deals stay.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "imports",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("organisation_id", big_id, sa.ForeignKey("organisations.id"), nullable=False),
        sa.Column("user_id", big_id, sa.ForeignKey("users.id", ondelete="SET NULL")),
        sa.Column("filename", sa.String(200), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("layout", sa.JSON, nullable=False),
        sa.Column("found", sa.JSON, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("rows_done", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("position", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("run", sa.String(32), nullable=False, server_default=""),
        sa.Column("error", sa.String(60), nullable=False, server_default=""),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("started_at", moment),
        sa.Column("finished_at", moment),
        sa.CheckConstraint("state IN ('arriving', 'draft', 'queued', 'running', 'done', 'cancelled', 'failed')", name="state"),
        sa.Index("ix_imports_organisation_id_id", "organisation_id", "id"),
        sa.Index("ix_imports_state_updated_at", "state", "updated_at"),
        sa.Index("ix_imports_user_id", "user_id"),
    )
    op.create_table(
        "import_pieces",
        sa.Column("import_id", big_id, sa.ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "import_problems",
        sa.Column("id", big_id, primary_key=True),
        sa.Column("import_id", big_id, sa.ForeignKey("imports.id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("line", sa.Integer, nullable=False),
        sa.Column("code", sa.String(40), nullable=False, server_default=""),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("cells", sa.JSON),
        sa.CheckConstraint("kind IN ('refused', 'warning')", name="kind"),
        sa.Index("ix_import_problems_import_id_kind_id", "import_id", "kind", "id"),
    )
    # Inline, as in 0002: what SQLite can add and drop without rebuilding the table.
    column_type = "BIGINT" if op.get_context().dialect.name == "postgresql" else "INTEGER"
    reference = "CONSTRAINT fk_deals_import_id REFERENCES imports (id) ON DELETE SET NULL"
    op.execute(f"ALTER TABLE deals ADD COLUMN import_id {column_type} {reference}")
    op.create_index("ix_deals_import_id", "deals", ["import_id"])


def downgrade() -> None:
    op.drop_index("ix_deals_import_id", "deals")
    op.execute("ALTER TABLE deals DROP COLUMN import_id")
    for table in ("import_problems", "import_pieces", "imports"):
        op.drop_table(table)
