"""The models and the migrations tell the same story, and both keep the naming rules."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, UniqueConstraint, inspect, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from app.models import Base
from tests.servers.web import ROOT

SOURCES = sorted(path for folder in ("app", "worker", "migrations") for path in (ROOT / folder).rglob("*.py"))


async def reflect(url: str, *, create: bool) -> dict[str, Any]:
    """Every table but Alembic's own, as the database describes it; with `create`, after making the models' tables there."""
    engine = create_async_engine(make_url(url))
    try:
        async with engine.begin() as connection:
            if create:
                await connection.run_sync(Base.metadata.create_all)
            return await connection.run_sync(_describe)
    finally:
        await engine.dispose()


def _describe(connection: Connection) -> dict[str, Any]:
    inspector = inspect(connection)
    described = {}
    for table in inspector.get_table_names():
        columns = {column.pop("name"): {**column, "type": str(column["type"])} for column in map(dict, inspector.get_columns(table))}
        constraints = (
            inspector.get_pk_constraint(table),
            *_foreign_keys(connection, table),
            *inspector.get_unique_constraints(table),
            *inspector.get_check_constraints(table),
            *inspector.get_indexes(table),
        )
        described[table] = columns | {f"constraint {constraint['name']}": _comparable(dict(constraint)) for constraint in constraints}
    described.pop("alembic_version", None)
    return described


def _comparable(constraint: dict[str, Any]) -> dict[str, Any]:
    """The condition of a partial index is an object that equals nothing but itself."""
    options = constraint.get("dialect_options") or {}
    return constraint | {"dialect_options": {name: str(option) for name, option in options.items()}}


def _foreign_keys(connection: Connection, table: str) -> list[dict[str, Any]]:
    if connection.dialect.name != "sqlite":
        return [dict(key) for key in inspect(connection).get_foreign_keys(table)]
    # The inspector overlooks the name and the ON DELETE of a reference that stands inline on its column.
    keys = connection.exec_driver_sql(f"SELECT * FROM pragma_foreign_key_list('{table}')").mappings()
    return [{"name": f"of {key['from']}"} | {part: key[part] for part in ("table", "to", "on_update", "on_delete")} for key in keys]


@pytest.mark.parametrize(("database_url", "empty_database_url"), [("sqlite",) * 2, ("postgresql",) * 2], indirect=True)
async def test_models_and_migrations_do_not_drift(database_url: str, empty_database_url: str) -> None:
    migrated, modelled = await reflect(database_url, create=False), await reflect(empty_database_url, create=True)
    assert migrated.keys() == modelled.keys()
    for table in modelled:
        assert migrated[table] == modelled[table], table


def test_every_foreign_key_is_indexed() -> None:
    """Without one, deleting the row it refers to reads the whole table."""
    missing = []
    for table in Base.metadata.sorted_tables:
        leading = {next(iter(index.columns)).name for index in table.indexes} | {table.primary_key.columns[0].name}
        leading |= {unique.columns[0].name for unique in table.constraints if isinstance(unique, UniqueConstraint)}
        missing += [str(key.parent) for key in table.foreign_keys if key.parent.name not in leading]
    assert missing == []


def test_transactions_are_committed_in_one_place_only() -> None:
    """That is `Database`: at the end of `write` and of `transaction`, which asks the driver."""
    found = {str(path.relative_to(ROOT)): path.read_text().count(".commit(") for path in SOURCES if ".commit(" in path.read_text()}
    assert found == {"app/core/database.py": 2, "app/core/transactions.py": 1}


def test_rows_are_changed_and_counted_by_one_helper() -> None:
    """Statements of the ORM that skip `execute_dml` look for loaded objects of the rows they change: a query more, or a slower one."""
    helper, driver = "app/core/statements.py", "app/core/sqlite.py"
    for word, known in (
        (r"\.rowcount\b", {helper, driver}),
        (r"synchronize_session", {helper}),
        (r"\.execute\(\s*(?:update|delete)\((?!table\))", {helper}),
    ):
        assert {str(path.relative_to(ROOT)) for path in SOURCES if re.search(word, path.read_text())} <= known, word


def test_session_never_names_a_database_handle() -> None:
    assert [f"{path.relative_to(ROOT)}: {name}" for path in SOURCES for name in _handles(path) if name != "db"] == []


def _handles(path: Path) -> Iterator[str]:
    """The names a file gives to SQLAlchemy's sessions: arguments typed so, and what `read()`, `write()` and `transaction()` hand out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.arg)
            and node.annotation is not None
            and ast.unparse(node.annotation) in ("AsyncSession", "Running", "Transaction")
        ):
            yield node.arg
        elif isinstance(node, ast.AsyncWith):
            for item in node.items:
                opens = ast.unparse(item.context_expr).endswith(("database.read()", "database.write()", "database.transaction()"))
                if opens and isinstance(item.optional_vars, ast.Name):
                    yield item.optional_vars.id
