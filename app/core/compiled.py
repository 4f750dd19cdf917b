"""Statements as a driver takes them: the SQL of one dialect, values in their order, rows with their names."""

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import Dialect, Executable, Insert

NO_VALUES: Mapping[str, Any] = {}


class Compiled(NamedTuple):
    sql: str
    # Of the values in their order, with what makes of each what the driver takes. A constant has a name, too.
    binds: list[tuple[str, Callable[[Any], Any] | None]]
    constants: dict[str, Any]
    row: Callable[..., Any]
    read: list[Callable[[Any], Any] | None]

    def bind(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        given = {**self.constants, **values}
        return tuple([write(given[name]) if write else given[name] for name, write in self.binds])

    def row_of(self, values: Iterable[Any]) -> Any:
        return self.row(*[read(value) if read else value for read, value in zip(self.read, values, strict=True)])


class Compilations:
    """What was compiled for one dialect, for as long as the statement lives: those that stand in modules once."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._kept: WeakKeyDictionary[Executable, dict[tuple[str, ...], Compiled]] = WeakKeyDictionary()

    def of(self, statement: Executable, values: Mapping[str, Any]) -> Compiled:
        names = tuple(values)  # an INSERT or UPDATE without values writes the columns it is given values of
        kept = self._kept.get(statement)
        if kept is None:
            kept = self._kept[statement] = {}
        found = kept.get(names)
        if found is None:
            found = kept[names] = compile_for(self._dialect, statement, names)
        return found


def compile_for(dialect: Dialect, statement: Any, names: Sequence[str] = ()) -> Compiled:
    if isinstance(statement, Insert) and not statement._returning:
        statement = statement.inline()  # nobody asks for the new key
    compiled: Any = statement.compile(dialect=dialect, column_keys=list(names) or None)
    if compiled.insert_prefetch or compiled.update_prefetch or compiled.post_compile_params or compiled.literal_execute_params:
        raise NotImplementedError(f"this statement needs SQLAlchemy to run it: {compiled}")
    constants = {name: bound.effective_value for bound, name in compiled.bind_names.items() if not bound.required}
    columns = compiled._result_columns
    row = namedtuple("row", [column.keyname for column in columns])  # type: ignore[misc]
    read = [column.type._cached_result_processor(dialect, None) for column in columns]
    return Compiled(str(compiled), [(name, compiled._bind_processors.get(name)) for name in compiled.positiontup], constants, row, read)
