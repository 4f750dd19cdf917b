"""Templates, rendered without waiting: nothing in a page asks anything of anybody, so no part of one has to be a coroutine."""

from typing import Any

from jinja2 import Template
from quart import Quart
from quart.templating import Environment as QuartEnvironment


class _Template(Template):
    async def render_async(self, *args: Any, **values: Any) -> str:
        """What Quart's `render_template` awaits."""
        return self.render(*args, **values)


class Environment(QuartEnvironment):
    template_class = _Template

    def __init__(self, app: Quart, **options: Any) -> None:
        super().__init__(app, **options)
        self.is_async = False
