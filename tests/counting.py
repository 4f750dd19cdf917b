"""What a request costs, counted at the drivers and inside SQLAlchemy: statements put together, compiled and sent, and commits."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BindParameter, Select, event
from sqlalchemy.sql.base import Generative
from sqlalchemy.sql.compiler import SQLCompiler

from app.core.database import Database

# What a request starts inherits it; what the process does on its own beside the test, such as a look at the flag, does not.
_counted: ContextVar[bool] = ContextVar("counted", default=False)
WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE)\b", re.IGNORECASE)


@dataclass
class Counted:
    """`built` are parts of statements put together, named by what made them; `compiled` statements turned into text anew."""

    statements: list[str] = field(default_factory=list)
    # Transactions that came to their end; a read is rolled back.
    commits: int = 0
    built: list[str] = field(default_factory=list)
    compiled: list[str] = field(default_factory=list)

    @property
    def writing(self) -> list[str]:
        return [each for each in self.statements if WRITES.match(each)]


@contextmanager
def counting(database: Database, found: Counted) -> Iterator[None]:
    """Count what the block does, on every engine."""

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if _counted.get() and not statement.startswith("BEGIN"):
            found.statements.append(statement)

    def note_commit(_connection: Any) -> None:
        found.commits += _counted.get()

    listeners: list[tuple[str, Callable[..., None]]] = [("before_cursor_execute", note), ("commit", note_commit)]
    with ExitStack() as stack:
        for engine in database.engines:
            for name, listener in listeners:
                event.listen(engine.sync_engine, name, listener)
                stack.callback(event.remove, engine.sync_engine, name, listener)
        for made in (Select, BindParameter):
            stack.enter_context(_noted(made, "__init__", found.built))
        stack.enter_context(_noted(Generative, "_generate", found.built))
        stack.enter_context(_noted(SQLCompiler, "__init__", found.compiled))
        token = _counted.set(True)
        try:
            yield
        finally:
            _counted.reset(token)


@contextmanager
def _noted(owner: type, name: str, into: list[str]) -> Iterator[None]:
    """SQLAlchemy tells nobody that it puts a statement together or compiles it: its own methods are listened at."""
    method = getattr(owner, name)

    def noting(self: Any, *args: Any, **values: Any) -> Any:
        if _counted.get():
            into.append(type(self).__name__)
        return method(self, *args, **values)

    setattr(owner, name, noting)
    try:
        yield
    finally:
        setattr(owner, name, method)
