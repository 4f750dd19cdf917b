"""The console as JSON: what each page shows, and what operators do, for scripts. The same services answer both."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from quart import Blueprint, request
from quart.typing import ResponseReturnValue

from app.core.errors import NotFound
from app.http.json_bodies import read_json
from app.http.openapi import documented
from app.http.query import parse_query
from app.http.web import current_resources, current_user, operators_only
from app.ops.console import screens
from app.ops.console.console import current_console
from app.ops.console.schemas import ExplainedPerson, Explanation
from app.ops.console.service import end_logins_of, switch_auto_restore
from app.ops.explain.explain import explain
from app.ops.explain.store import find_people
from app.ops.jobs import service as jobs_service
from app.ops.jobs.view import History, JobsView, RunBucket, RunDetail, RunQuery, view_history, view_jobs, view_run
from app.ops.sessions.view import SessionsView
from app.ops.statistics.windows import WINDOWS
from app.ops.streams.view import Group, StreamsQuery, StreamsView, requeue, view_streams

blueprint = Blueprint("ops_api", __name__, url_prefix="/api/ops")

TOPIC = "operations"


class CheckView(BaseModel):
    check: str
    state: Literal["ok", "warning", "failed"]
    found: str
    fix: str


class OverviewView(BaseModel):
    """`state` is that of the worst check."""

    state: Literal["ok", "warning", "failed"]
    checks: list[CheckView]


class JobFigures(BaseModel):
    window: str
    buckets: list[RunBucket]


class PeopleQuery(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    q: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=320)]


class People(BaseModel):
    people: list[ExplainedPerson]


class SwitchBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    enabled: bool


class FailureGroupBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    job: str = Field(max_length=60)
    error_class: str = Field(max_length=120)


class RequeueBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    group: Group | None = None


class EndLoginsBody(BaseModel):
    """Without `login_id`: everywhere."""

    model_config = ConfigDict(extra="forbid", strict=True)

    login_id: int | None = Field(default=None, ge=1)


class Queued(BaseModel):
    run_id: int


class QueuedMany(BaseModel):
    run_ids: list[int]


class Cancelled(BaseModel):
    status: Literal["cancelled", "cancelling"]


class Requeued(BaseModel):
    count: int


class Ended(BaseModel):
    login_ids: list[int]


def _json(view: BaseModel) -> dict[str, Any]:
    return view.model_dump(mode="json")


@blueprint.get("")
@documented(TOPIC, OverviewView, problems=(403,))
@operators_only
async def overview() -> ResponseReturnValue:
    """The checks of `holdfast doctor`."""
    findings = await current_console().findings.get()
    worst = next((state for state in ("failed", "warning") if any(each.state == state for each in findings)), "ok")
    return {"state": worst, "checks": [vars(each) for each in findings]}


@blueprint.get("/sessions")
@documented(TOPIC, SessionsView, query=screens.WindowQuery, problems=(400, 403))
@operators_only
async def sessions() -> ResponseReturnValue:
    query = parse_query(screens.WindowQuery, request.args)
    return _json(await screens.load_sessions(current_console(), WINDOWS[query.window]))


@blueprint.put("/sessions/auto-restore")
@documented(TOPIC, status=204, body=SwitchBody, problems=(400, 403, 413, 415))
@operators_only
async def auto_restore() -> ResponseReturnValue:
    """The operators' switch. Where AUTO_RESTORE_DEAL is set in the environment, that wins."""
    body = await read_json(SwitchBody)
    await switch_auto_restore(current_resources(), enabled=body.enabled, by=current_user())
    return "", 204


@blueprint.get("/jobs")
@documented(TOPIC, JobsView, problems=(403,))
@operators_only
async def jobs() -> ResponseReturnValue:
    """Schedule, queue, what runs now, and open failures."""
    resources = current_resources()
    async with resources.database.read() as db:
        return _json(await view_jobs(db, now=resources.clock.now()))


@blueprint.get("/jobs/figures")
@documented(TOPIC, JobFigures, query=screens.WindowQuery, problems=(400, 403))
@operators_only
async def job_figures() -> ResponseReturnValue:
    """How many runs ended, and how long they took."""
    query = parse_query(screens.WindowQuery, request.args)
    buckets = await current_console().run_figures(WINDOWS[query.window])
    return _json(JobFigures(window=query.window, buckets=buckets))


@blueprint.get("/jobs/runs")
@documented(TOPIC, History, query=RunQuery, problems=(400, 403))
@operators_only
async def runs() -> ResponseReturnValue:
    query, resources = parse_query(RunQuery, request.args), current_resources()
    async with resources.database.read() as db:
        return _json(await view_history(db, query, settings=resources.settings))


@blueprint.get("/jobs/runs/<id:run_id>")
@documented(TOPIC, RunDetail, problems=(403, 404))
@operators_only
async def run(run_id: int) -> ResponseReturnValue:
    async with current_resources().database.read() as db:
        return _json(await view_run(db, run_id))


@blueprint.post("/jobs/<name>/run")
@documented(TOPIC, Queued, 202, problems=(400, 403, 404))
@operators_only
async def run_job(name: str) -> ResponseReturnValue:
    return {"run_id": await jobs_service.run_now(current_resources(), name, by=current_user())}, 202


@blueprint.post("/jobs/<name>/pause")
@documented(TOPIC, status=204, problems=(400, 403, 404))
@operators_only
async def pause_job(name: str) -> ResponseReturnValue:
    await jobs_service.pause(current_resources(), name, by=current_user())
    return "", 204


@blueprint.post("/jobs/<name>/resume")
@documented(TOPIC, status=204, problems=(400, 403, 404))
@operators_only
async def resume_job(name: str) -> ResponseReturnValue:
    await jobs_service.resume(current_resources(), name, by=current_user())
    return "", 204


@blueprint.post("/jobs/runs/<id:run_id>/retry")
@documented(TOPIC, Queued, 202, problems=(403, 404, 409))
@operators_only
async def retry_run(run_id: int) -> ResponseReturnValue:
    return {"run_id": await jobs_service.retry(current_resources(), run_id, by=current_user())}, 202


@blueprint.post("/jobs/runs/<id:run_id>/cancel")
@documented(TOPIC, Cancelled, problems=(403, 404, 409))
@operators_only
async def cancel_run(run_id: int) -> ResponseReturnValue:
    return {"status": await jobs_service.cancel(current_resources(), run_id, by=current_user())}


@blueprint.post("/jobs/failures/retry")
@documented(TOPIC, QueuedMany, 202, body=FailureGroupBody, problems=(400, 403, 413, 415))
@operators_only
async def retry_failures() -> ResponseReturnValue:
    """Everything that failed in this way and was not run again yet."""
    body = await read_json(FailureGroupBody)
    return {"run_ids": await jobs_service.retry_group(current_resources(), body.job, body.error_class, by=current_user())}, 202


@blueprint.get("/streams")
@documented(TOPIC, StreamsView, query=StreamsQuery, problems=(400, 403))
@operators_only
async def streams() -> ResponseReturnValue:
    return _json(await view_streams(current_resources(), parse_query(StreamsQuery, request.args)))


@blueprint.post("/streams/dead-letters/requeue")
@documented(TOPIC, Requeued, 202, body=RequeueBody, problems=(400, 403, 413, 415))
@operators_only
async def requeue_all() -> ResponseReturnValue:
    """All dead letters, or those of a group."""
    body = await read_json(RequeueBody)
    return {"count": await requeue(current_resources(), letter_id=None, group=body.group, by=current_user())}, 202


@blueprint.post("/streams/dead-letters/<id:letter_id>/requeue")
@documented(TOPIC, Requeued, 202, problems=(403, 404))
@operators_only
async def requeue_one(letter_id: int) -> ResponseReturnValue:
    """Counts 0 where it waits for another try already."""
    return {"count": await requeue(current_resources(), letter_id=letter_id, group=None, by=current_user())}, 202


@blueprint.get("/users")
@documented(TOPIC, People, query=PeopleQuery, problems=(400, 403))
@operators_only
async def users() -> ResponseReturnValue:
    """People whose address contains `q`."""
    query = parse_query(PeopleQuery, request.args)
    async with current_resources().database.read() as db:
        return _json(People(people=await find_people(db, query.q, limit=screens.PEOPLE_SHOWN)))


@blueprint.get("/users/explain")
@documented(TOPIC, Explanation, query=PeopleQuery, problems=(400, 403, 404))
@operators_only
async def explain_user() -> ResponseReturnValue:
    """Why the deal of the person with the address `q` is or is not current."""
    query, resources = parse_query(PeopleQuery, request.args), current_resources()
    async with resources.database.read() as db:
        found = await explain(db, resources.settings, query.q, now=resources.clock.now())
    if found is None:
        raise NotFound
    return _json(found)


@blueprint.post("/users/<id:user_id>/end-logins")
@documented(TOPIC, Ended, body=EndLoginsBody, problems=(400, 403, 404, 413, 415))
@operators_only
async def end_logins(user_id: int) -> ResponseReturnValue:
    body = await read_json(EndLoginsBody)
    return {"login_ids": await end_logins_of(current_resources(), user_id, login_id=body.login_id, by=current_user())}
