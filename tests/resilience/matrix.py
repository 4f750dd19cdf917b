"""Which fault meets which database: each meets one of them in `make test`, and both with MATRIX=full, as in `make chaos`."""

import os
from collections.abc import Iterable
from itertools import cycle
from typing import Any

import pytest

DATABASES = ("sqlite", "postgresql")
IS_FULL = os.environ.get("MATRIX") == "full"


def on(database: str, *, fixture: str = "site_database") -> pytest.MarkDecorator:
    """For a fault in which SQL has no part: on this database, and on both with MATRIX=full."""
    return pytest.mark.parametrize(fixture, DATABASES if IS_FULL else (database,), indirect=True)


def across(name: str, cases: Iterable[Any], *, first: str = "sqlite", fixture: str = "site_database") -> pytest.MarkDecorator:
    """Parametrise a test with `cases` as `name`, on the databases in turn; `fixture` makes these."""
    turns = cycle(DATABASES if first == "sqlite" else DATABASES[::-1])
    pairs = [(case, database) for case in cases for database in (DATABASES if IS_FULL else (next(turns),))]
    names = [f"{database}-{getattr(case, '__name__', case)}" for case, database in pairs]
    return pytest.mark.parametrize((name, fixture), pairs, ids=names, indirect=[fixture])
