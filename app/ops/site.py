"""Puts the console into the site."""

from quart import Quart

from app.ops import actions, api, live, pages
from app.ops.console import init_console
from app.resources import Resources


def init_ops(app: Quart, house: Resources) -> None:
    """Call it before what closes `house`."""
    for part in (pages, actions, api, live):
        app.register_blueprint(part.blueprint)
    init_console(app, house)
