"""Wherever a new password is given, the same ones are refused, with the reason."""

import pytest

from app.auth.people import add_user
from app.auth.service import reset_password
from app.core.errors import BadRequest
from tests.factories import PASSWORD
from tests.integration.scene import Scene

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

GOOD = "lunar rover tomatoes"


async def test_every_door_refuses_the_old_password_and_what_everybody_knows(scene: Scene) -> None:
    email = scene.users["viewer"].email
    local = email.partition("@")[0]
    refused = {
        PASSWORD: "password_unchanged",
        f"{local}!{local}!{local}": "password_personal",
        "qwertyuiopasdfghjkl": "password_too_common",
    }
    client = await scene.client("viewer")
    for password, code in refused.items():
        body = {"current_password": PASSWORD, "new_password": password}
        status, problem = await scene.call("viewer", "POST", "/api/me/password", json=body)
        assert (status, problem["code"]) == (400, code)
        page = await client.post("/settings/password", form={**body, "again": password})
        assert page.status_code == 400
        assert problem["detail"] in (await page.get_data(as_text=True)).replace("&#39;", "'")
        with pytest.raises(BadRequest) as by_command:
            await reset_password(scene.resources, email, password)
        assert by_command.value.code == code
    status, made = await scene.call("admin", "POST", f"/api/admin/people/{scene.id_of('viewer')}/reset", json={})
    token = made["link"]["url"].partition("token=")[2] if "link" in made else made["url"].partition("token=")[2]
    for password in refused:
        page = await scene.app.test_client().post("/link", form={"token": token, "password": password, "again": password})
        assert page.status_code == 400, "and the link is not used up by it"
    page = await scene.app.test_client().post("/link", form={"token": token, "password": GOOD, "again": GOOD})
    assert page.status_code == 303


async def test_who_joins_or_is_added_cannot_take_their_own_name(scene: Scene) -> None:
    with pytest.raises(BadRequest) as refused:
        await add_user(scene.resources, "maria.keller@firm.example", "MariaKeller1990", name="Maria Keller", organisation="Firm")
    assert refused.value.code == "password_personal"
    status, made = await scene.call(
        "admin", "POST", "/api/admin/invitations", json={"email": "new.colleague@firm.example", "role": "member"}
    )
    assert status == 201
    token = (made.get("link") or made)["url"].partition("token=")[2]
    for password, expected in (("Grace Hopper 1906", 400), (scene.organisation.name + "!", 400), (GOOD, 303)):
        form = {"token": token, "name": "Grace Hopper", "password": password, "again": password}
        assert (await scene.app.test_client().post("/link", form=form)).status_code == expected, password
