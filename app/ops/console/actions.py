"""What operators do, as forms: each a POST, by an operator, audited with the change itself, and answered by the page it was made on."""

import re

from quart import Blueprint, request
from quart.typing import ResponseReturnValue

from app.core.errors import BadRequest
from app.http.ids import parse_id
from app.http.security_headers import return_to
from app.http.web import current_resources, current_user, operators_only
from app.ops.console.service import end_logins_of, switch_auto_restore
from app.ops.jobs import service as jobs_service
from app.ops.streams.view import requeue
from app.pages.kit.flash import see_other

blueprint = Blueprint("ops_actions", __name__)
# What the page said before.
_SAYS = re.compile(r"[?&](?:done|said)=.*")


@blueprint.post("/ops/sessions/auto-restore")
@operators_only
async def auto_restore() -> ResponseReturnValue:
    wanted = (await request.form).get("enabled")
    if wanted not in ("true", "false"):
        raise BadRequest("The form came without its answer.")
    await switch_auto_restore(current_resources(), enabled=wanted == "true", by=current_user())
    return _back("/ops/sessions", "restore-on" if wanted == "true" else "restore-off")


@blueprint.post("/ops/jobs/<name>/run")
@operators_only
async def run_job(name: str) -> ResponseReturnValue:
    await jobs_service.run_now(current_resources(), name, by=current_user())
    return _back("/ops/jobs", "queued")


@blueprint.post("/ops/jobs/<name>/pause")
@operators_only
async def pause_job(name: str) -> ResponseReturnValue:
    await jobs_service.pause(current_resources(), name, by=current_user())
    return _back("/ops/jobs", "paused")


@blueprint.post("/ops/jobs/<name>/resume")
@operators_only
async def resume_job(name: str) -> ResponseReturnValue:
    await jobs_service.resume(current_resources(), name, by=current_user())
    return _back("/ops/jobs", "resumed")


@blueprint.post("/ops/jobs/runs/<id:run_id>/retry")
@operators_only
async def retry_run(run_id: int) -> ResponseReturnValue:
    new_id = await jobs_service.retry(current_resources(), run_id, by=current_user())
    return _back(f"/ops/jobs/runs/{new_id}", "queued")


@blueprint.post("/ops/jobs/runs/<id:run_id>/cancel")
@operators_only
async def cancel_run(run_id: int) -> ResponseReturnValue:
    form = await request.form
    done = await jobs_service.cancel(current_resources(), run_id, by=current_user())
    return _back(form.get("next", f"/ops/jobs/runs/{run_id}"), done)


@blueprint.post("/ops/jobs/failures/retry")
@operators_only
async def retry_failures() -> ResponseReturnValue:
    form = await request.form
    new_ids = await jobs_service.retry_group(current_resources(), form.get("job", ""), form.get("error_class", ""), by=current_user())
    return _back("/ops/jobs", "retried" if new_ids else "nothing-retried")


@blueprint.post("/ops/streams/dead-letters/requeue")
@blueprint.post("/ops/streams/dead-letters/<id:letter_id>/requeue")
@operators_only
async def requeue_letters(letter_id: int | None = None) -> ResponseReturnValue:
    group = (await request.form).get("group") or None
    if group not in (None, "analytics", "notify"):
        raise BadRequest("There is no such group.")
    return _back(
        "/ops/streams",
        "requeued" if await requeue(current_resources(), letter_id=letter_id, group=group, by=current_user()) else "nothing-requeued",
    )


@blueprint.post("/ops/users/<id:user_id>/end-logins")
@operators_only
async def end_logins(user_id: int) -> ResponseReturnValue:
    """All logins of this person, or the one named by `login_id`."""
    form = await request.form
    login_id = parse_id(form["login_id"]) if form.get("login_id") else None
    ended = await end_logins_of(current_resources(), user_id, login_id=login_id, by=current_user())
    return _back(form.get("next", "/ops/users"), "logins-ended" if ended else "no-logins")


def _back(path: str, done: str) -> ResponseReturnValue:
    """To a page of the console, whatever a form claims."""
    path = return_to(path)
    if not path.startswith("/ops"):
        path = "/ops"
    return see_other(_SAYS.sub("", path), done)
