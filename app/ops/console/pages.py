"""The pages of the console, for operators. Each is drawn by the server; a stream renews its regions (live.py)."""

from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel
from quart import Blueprint, render_template, request
from quart.typing import ResponseReturnValue

from app.http.query import parse_query
from app.http.web import current_resources, operators_only
from app.ops.console import screens
from app.ops.console.console import current_console
from app.ops.console.render import init_filters
from app.ops.console.screens import Regions
from app.ops.jobs.view import JobsQuery
from app.ops.streams.view import StreamsQuery

blueprint = Blueprint("ops", __name__)
init_filters(blueprint)


@blueprint.get("/ops")
@operators_only
async def overview() -> ResponseReturnValue:
    return await show("ops/page.html", "/ops", "Overview", await screens.overview(current_console(), screens.NoQuery()), stream="overview")


@blueprint.get("/ops/sessions")
@operators_only
async def sessions() -> ResponseReturnValue:
    query = parse_query(screens.WindowQuery, request.args)
    regions = await screens.sessions(current_console(), query)
    return await show("ops/sessions.html", "/ops/sessions", "Sessions", regions, stream="sessions", query=query)


@blueprint.get("/ops/jobs")
@operators_only
async def jobs() -> ResponseReturnValue:
    query = parse_query(JobsQuery, request.args)
    regions = await screens.jobs(current_console(), query)
    kept = query.model_dump(exclude_defaults=True, exclude={"window", "cursor"})
    return await show("ops/jobs.html", "/ops/jobs", "Jobs", regions, stream="jobs", query=query, kept="&" + urlencode(kept) if kept else "")


@blueprint.get("/ops/jobs/runs/<id:run_id>")
@operators_only
async def run(run_id: int) -> ResponseReturnValue:
    asked = screens.RunAsked(run_id)
    regions = await screens.run(current_console(), asked)
    return await show("ops/run.html", "/ops/jobs", f"Run {asked.id}", regions, stream=f"runs/{asked.id}")


@blueprint.get("/ops/streams")
@operators_only
async def streams() -> ResponseReturnValue:
    query = parse_query(StreamsQuery, request.args)
    regions = await screens.streams(current_console(), query)
    return await show("ops/streams.html", "/ops/streams", "Streams", regions, stream="streams", query=query)


@blueprint.get("/ops/users")
@operators_only
async def users() -> ResponseReturnValue:
    query = parse_query(screens.UserQuery, request.args)
    found = await screens.users(current_resources(), query)
    return await show("ops/users.html", "/ops/users", "Users", {}, query=query, **found)


async def show(
    template: str, tab: str, heading: str, regions: Regions, *, stream: str = "", query: BaseModel | None = None, **values: Any
) -> ResponseReturnValue:
    """`stream` names what renews the regions, asked with the page's own query."""
    asked = {name: value for name, value in query.model_dump(exclude_defaults=True, mode="json").items() if value} if query else {}
    address = f"/api/ops/live/{stream}{'?' + urlencode(asked) if asked else ''}" if stream else ""
    return await render_template(
        template,
        tab=tab,
        heading=heading,
        regions=regions.items(),
        stream=address,
        query=query,
        now=current_resources().clock.now(),
        **values,
    )
