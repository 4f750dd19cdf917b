"""Templates, rendered without waiting: nothing in a page asks anything of anybody, so no part of one has to be a coroutine."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from jinja2 import Template
from quart import Quart
from quart.templating import Environment as QuartEnvironment

from app.core.root_path import root_path

# Of one macro: what a busy site shows on its pages at a time.
MAX_KEPT = 2048


class _Template(Template):
    async def render_async(self, *args: Any, **values: Any) -> str:
        """What Quart's `render_template` awaits."""
        return self.render(*args, **values)


class Environment(QuartEnvironment):
    template_class = _Template

    def __init__(self, app: Quart, **options: Any) -> None:
        super().__init__(app, **options)
        self.is_async = False
        self.filters["memoized"] = _memoized


def _memoized(macro: Callable[..., Any]) -> Callable[..., Any]:
    """For a macro whose text depends on its arguments alone, which are plain values, and on the root path."""

    # By type as well: markup and a plain text may be equal, and only one of them is escaped.
    @lru_cache(maxsize=MAX_KEPT, typed=True)
    def kept(_root: str, *args: Any) -> Any:
        return macro(*args)

    return lambda *args: kept(root_path(), *args)
