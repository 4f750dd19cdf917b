"""Puts the console into the site."""

from quart import Quart

from app.ops.console import actions, api, live, pages
from app.ops.console.console import init_console
from app.resources import Resources


def init_ops(app: Quart, resources: Resources) -> None:
    """Call it before what closes `resources`."""
    for part in (pages, actions, api, live):
        app.register_blueprint(part.blueprint)
    init_console(app, resources)
