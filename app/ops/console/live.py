"""One event stream for each open page of the console: it sends the regions that look different from what was sent before.

Everybody on the same page with the same query shares one poll per process, so ten operators cost what one does.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from quart import Blueprint, Quart, Response, current_app, request

from app.core.errors import NotFound
from app.core.root_path import root_path, set_root_path
from app.http.live import Message, current_live, event_stream
from app.http.openapi import documented
from app.http.query import parse_query
from app.http.web import operators_only
from app.ops.console import screens
from app.ops.console.console import Console, current_console
from app.ops.console.screens import Regions
from app.ops.jobs.view import JobsQuery
from app.ops.streams.view import StreamsQuery

blueprint = Blueprint("ops_live", __name__)

# Quick enough to watch a job run, slow enough for a tab that is open all day.
POLL_INTERVAL = timedelta(seconds=2)
Draw = Callable[[Console, Any], Awaitable[Regions]]
SCREENS: dict[str, tuple[type[BaseModel], Draw]] = {
    "overview": (screens.NoQuery, screens.overview),
    "sessions": (screens.WindowQuery, screens.sessions),
    "jobs": (JobsQuery, screens.jobs),
    "streams": (StreamsQuery, screens.streams),
}


@blueprint.get("/api/ops/live/<screen>")
@documented("operations", problems=(400, 403, 404))
@operators_only
async def stream(screen: str) -> Response:
    """Server-sent events for a page of the console: `regions`, HTML by region, first of all and then of those that changed."""
    if screen not in SCREENS:
        raise NotFound
    model, draw = SCREENS[screen]
    query = parse_query(model, request.args)
    return await event_stream(_changes(_app(), root_path(), (screen, query), draw, query))


@blueprint.get("/api/ops/live/runs/<id:run_id>")
@documented("operations", problems=(403, 404))
@operators_only
async def run_stream(run_id: int) -> Response:
    """Server-sent events for the page of one run of a job."""
    asked = screens.RunAsked(run_id)
    await screens.run(current_console(), asked)  # 404 for what is no run
    return await event_stream(_changes(_app(), root_path(), ("run", asked), screens.run, asked))


def _app() -> Quart:
    return current_app._get_current_object()  # type: ignore[attr-defined,no-any-return]


async def _changes(app: Quart, root: str, key: Hashable, draw: Draw, query: Any) -> AsyncGenerator[Message, None]:
    async with app.app_context():
        live, console = current_live(), current_console()

    async def render() -> Regions:
        set_root_path(root)  # it runs apart from every request
        async with app.app_context():
            return await draw(console, query)

    shown: Regions = {}
    async for regions in live.watch((root, key), render, every=POLL_INTERVAL):
        changed = {name: html for name, html in regions.items() if shown.get(name) != html}
        if changed:
            yield Message("regions", changed)
        shown = regions
