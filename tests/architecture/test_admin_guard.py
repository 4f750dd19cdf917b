"""No admin's action on a person is without the guard that keeps operators out of their reach."""

import inspect
import re
from typing import Any

import pytest
from quart import Quart
from sqlalchemy import select, text

from app.admin import service
from app.models import Login
from tests.factories import make_member, make_user
from tests.integration.scene import Scene
from tests.integration.test_operator_accounts import ACTIONS, everything_of

BODIES: dict[str, Any] = {"PATCH": {"json": {"role": "admin"}}, "DELETE": {}}
# The bodies of forms; one that needs none ignores it.
FORM = {"role": "admin"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_every_admin_route_on_a_person_refuses_an_operator(app: Quart) -> None:
    """Walks the map of routes, so that one made tomorrow is asked, too."""
    scene = await Scene.set(app)
    operator = await make_user(scene.resources.database, scene.organisation, is_operator=True)
    await make_member(scene.resources.database, scene.deal, operator)
    scene.users["operator"] = operator
    await scene.client("operator")
    admin = await scene.client("admin")
    async with scene.resources.database.read() as db:
        login_id = await db.scalar(select(Login.id).where(Login.user_id == operator.id))
    before, asked = await everything_of(scene, operator.id), 0
    for rule in app.url_map.iter_rules():
        if "<id:user_id>" not in rule.rule or not rule.rule.startswith(("/admin/", "/api/admin/")):
            continue
        ids = {"user_id": operator.id, "login_id": login_id, "deal_id": scene.deal.id}
        path = re.sub(r"<(?:id:)?(\w+)>", lambda match, ids=ids: str(ids[match[1]]), rule.rule)  # type: ignore[misc]
        for method in sorted((rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}):
            options = BODIES.get(method, {} if rule.rule.startswith("/api/") else {"form": FORM})
            response = await admin.open(path, method=method, **options)
            assert response.status_code == 403, f"{method} {rule.rule} does something to an operator: see app/admin/guard.py"
            if rule.rule.startswith("/api/"):
                assert (await response.get_json())["code"] == "operator_account", rule.rule
            asked += 1
    assert asked >= 11, "the map is the real one"
    assert await everything_of(scene, operator.id) == before
    assert len(await scene.events("user.change_refused")) == asked, "each is on record"
    async with scene.resources.database.read() as db:
        assert await db.scalar(text("SELECT count(*) FROM members WHERE user_id = :id"), {"id": operator.id}) == 1


def test_every_service_on_a_person_is_tried_while_they_become_an_operator() -> None:
    """A new function has to join the races of `test_operator_accounts`, which prove that the check is in the transaction."""
    on_a_person = {
        name
        for name, function in inspect.getmembers(service, inspect.iscoroutinefunction)
        if function.__module__ == service.__name__ and not name.startswith("_") and "user_id" in inspect.signature(function).parameters
    }
    assert on_a_person == ACTIONS.keys()
