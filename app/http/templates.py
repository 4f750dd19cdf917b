"""Templates with less work in them: nothing in a page waits, so no part of one is a coroutine, and what is joined is plain text."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from jinja2 import Template
from jinja2.compiler import CodeGenerator
from markupsafe import Markup, escape
from quart import Quart
from quart.templating import Environment as QuartEnvironment

from app.core.root_path import root_path

# Of one macro: what a busy site shows on its pages at a time.
MAX_KEPT = 2048
_SPECIAL = re.compile("[&<>'\"]").search


class _Template(Template):
    async def render_async(self, *args: Any, **values: Any) -> str:
        """What Quart's `render_template` awaits."""
        return self.render(*args, **values)


class _CodeGenerator(CodeGenerator):
    """Has what stands between braces escaped by `_escaped`."""

    def _output_child_pre(self, node: Any, frame: Any, finalize: Any) -> None:
        if frame.eval_ctx.volatile or not frame.eval_ctx.autoescape or finalize.src is not None:
            super()._output_child_pre(node, frame, finalize)
        else:
            self.write("environment.escaped(")


def _escaped(value: Any) -> str:
    """The text of `markupsafe.escape`, but no object for each piece of a page: most have nothing to escape, and all are joined."""
    kind = type(value)
    if kind is str:
        return value if _SPECIAL(value) is None else escape(value)
    return value if kind is Markup else escape(value)


class Environment(QuartEnvironment):
    template_class = _Template
    code_generator_class = _CodeGenerator
    escaped = staticmethod(_escaped)

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
