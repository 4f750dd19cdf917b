"""Operators stand above an organisation's admins: by every door, and also when both happen at once."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from click.testing import CliRunner
from sqlalchemy import select, update

from app.admin import service
from app.admin.guard import OperatorAccount
from app.auth.commands import user as user_command
from app.auth.links import LinkSpent, join, reset_by_link
from app.auth.links import invite as invite_by
from app.auth.operators import set_operator
from app.auth.store import find_account
from app.core.errors import Forbidden
from app.models import Login, OneTimeLink, User
from tests.factories import PASSWORD, make_member, make_user
from tests.integration.conftest import waits_for_a_row
from tests.integration.scene import Scene
from tests.integration.test_admin_api import invite, sign_in, token_of, use
from tests.waiting import until

NEW_PASSWORD = "another-horse-battery"
sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
postgresql_only = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

Action = Callable[[Scene, int, int], Awaitable[object]]
ACTIONS: dict[str, Action] = {
    "change_role": lambda scene, admin, them: service.change_role(scene.resources, admin, them, "admin"),
    "disable_person": lambda scene, admin, them: service.disable_person(scene.resources, admin, them),
    "enable_person": lambda scene, admin, them: service.enable_person(scene.resources, admin, them),
    "offer_new_password": lambda scene, admin, them: service.offer_new_password(scene.resources, admin, them),
    "end_logins_of": lambda scene, admin, them: service.end_logins_of(scene.resources, admin, them),
    "withdraw_grant": lambda scene, admin, them: service.withdraw_grant(scene.resources, admin, them, scene.deal.id),
    "check_manageable": lambda scene, admin, them: service.check_manageable(scene.resources, admin, them),
}


@pytest.fixture
async def scene(scene: Scene) -> Scene:
    scene.users["operator"] = await make_user(scene.resources.database, scene.organisation, is_operator=True)
    await make_member(scene.resources.database, scene.deal, scene.users["operator"])
    return scene


async def everything_of(scene: Scene, user_id: int) -> tuple[object, ...]:
    async with scene.resources.database.read() as db:
        user = (await db.execute(select(User.__table__).where(User.id == user_id))).one()
        logins = (await db.execute(select(Login.id, Login.ended_at).where(Login.user_id == user_id))).all()
        links = (await db.execute(select(OneTimeLink.id).where(OneTimeLink.user_id == user_id))).all()
    return tuple(user), logins, links


@sqlite_only
async def test_page_of_an_operator_says_why_nothing_can_be_done(scene: Scene) -> None:
    operator = scene.id_of("operator")
    admin = await scene.client("admin")
    page = await (await admin.get(f"/admin/people/{operator}")).get_data(as_text=True)
    assert "an operator of this installation" in page
    assert f"/admin/people/{operator}/" not in page.replace(f'href="/admin/people/{operator}"', ""), "no form leads to a refusal"
    refused = await admin.post(f"/admin/people/{operator}/reset")
    assert refused.status_code == 403
    assert "command line" in await refused.get_data(as_text=True)
    status, problem = await scene.call("admin", "POST", f"/api/admin/people/{operator}/reset")
    assert (status, problem["code"]) == (403, "operator_account")
    for who, expected in (("viewer", 403), ("foreign_admin", 404)):
        status, problem = await scene.call(who, "POST", f"/api/admin/people/{operator}/reset")
        assert (status, problem["code"] == "operator_account") == (expected, False), "others are not told who is an operator"
    told = await scene.events("user.change_refused")
    assert [(each.actor_id, each.user_id, each.payload["reason"]) for each in told] == [
        (scene.id_of("admin"), operator, "operator_account")
    ] * 2


@sqlite_only
async def test_operator_who_is_admin_too_is_not_managed_by_any_admin(scene: Scene) -> None:
    async with scene.resources.database.write() as db:
        await db.execute(update(User).where(User.id == scene.id_of("operator")).values(role="admin"))
    for by in ("admin", "operator"):
        status, problem = await scene.call(by, "PATCH", f"/api/admin/people/{scene.id_of('operator')}", json={"role": "member"})
        assert (status, problem["code"]) == (403, "operator_account")
    assert (await scene.call("operator", "PATCH", f"/api/admin/people/{scene.id_of('admin')}", json={"role": "member"}))[0] == 200


@sqlite_only
async def test_nobody_is_made_an_operator_by_an_admin(scene: Scene) -> None:
    for path, method, body in (
        ("/api/admin/invitations", "POST", {"email": "x@test.example", "role": "operator"}),
        ("/api/admin/invitations", "POST", {"email": "x@test.example", "is_operator": True}),
        (f"/api/admin/people/{scene.id_of('viewer')}", "PATCH", {"role": "operator"}),
        (f"/api/admin/people/{scene.id_of('viewer')}", "PATCH", {"is_operator": True}),
        ("/api/me", "PATCH", {"is_operator": True}),
    ):
        assert (await scene.call("admin", method, path, json=body))[0] == 400, (path, body)
    link = await invite(scene, role="admin")
    await use(scene, token_of(link))
    async with scene.resources.database.read() as db:
        assert await db.scalar(select(User.is_operator).where(User.email == link["email"])) is False


@sqlite_only
async def test_sharing_a_deal_with_an_operator_is_the_deals_matter(scene: Scene) -> None:
    operator = scene.id_of("operator")
    assert (await scene.call("admin", "PATCH", f"~/members/{operator}", json={"role": "editor"}))[0] == 200
    assert (await scene.call("admin", "DELETE", f"~/members/{operator}"))[0] == 204


@sqlite_only
@pytest.mark.parametrize("by_hand", [True, False])
async def test_link_from_before_somebody_became_an_operator_is_void(scene: Scene, by_hand: bool) -> None:
    """Also where the flag was set in SQL, by somebody who knows nothing of links."""
    viewer = scene.users["viewer"]
    token = token_of((await scene.call("admin", "POST", f"/api/admin/people/{viewer.id}/reset"))[1]["link"])
    assert (await scene.app.test_client().get(f"/link?token={token}")).status_code == 200
    if by_hand:
        async with scene.resources.database.write() as db:
            await db.execute(update(User).where(User.id == viewer.id).values(is_operator=True))
    else:
        await set_operator(scene.resources, viewer.email, is_operator=True)
    assert (await scene.app.test_client().get(f"/link?token={token}")).status_code == 404
    assert (await use(scene, token))[0] == 404
    assert await sign_in(scene, viewer.email, PASSWORD) == 200
    if not by_hand:
        await set_operator(scene.resources, viewer.email, is_operator=False)
        assert (await use(scene, token))[0] == 404, "withdrawn for good"


@sqlite_only
@pytest.mark.parametrize("values", [{"role": "member"}, {"organisation_id": None}])
async def test_link_of_an_admin_who_is_none_any_more_is_void(scene: Scene, values: dict[str, object]) -> None:
    """By a change that did not come through the pages, which withdraw links by themselves."""
    viewer = scene.id_of("viewer")
    invitation = token_of(await invite(scene, role="admin"))
    reset = token_of((await scene.call("admin", "POST", f"/api/admin/people/{viewer}/reset"))[1]["link"])
    if "organisation_id" in values:
        values = {"organisation_id": scene.elsewhere.id}
    async with scene.resources.database.write() as db:
        await db.execute(update(User).where(User.id == scene.id_of("admin")).values(**values))
    assert [(await use(scene, token))[0] for token in (invitation, reset)] == [404, 404]


@postgresql_only
@pytest.mark.parametrize("action", sorted(ACTIONS.keys() - {"check_manageable"}))
async def test_admin_who_was_quicker_by_a_moment_is_refused_in_the_transaction(scene: Scene, action: str) -> None:
    """They looked while the person was none yet, and the person is an operator by the time they would commit."""
    viewer, admin = scene.id_of("viewer"), scene.id_of("admin")
    await scene.client("viewer")
    if action == "enable_person":
        await service.disable_person(scene.resources, admin, viewer)
    before = await everything_of(scene, viewer)
    async with scene.resources.database.write() as db:
        await db.execute(update(User).where(User.id == viewer).values(is_operator=True))
        deed = asyncio.ensure_future(ACTIONS[action](scene, admin, viewer))
        await until(lambda: waits_for_a_row(scene.resources))
    with pytest.raises(OperatorAccount):
        await deed
    after = await everything_of(scene, viewer)
    assert after[1:] == before[1:]
    async with scene.resources.database.read() as db:
        account = await find_account(db, User.id == viewer)
    assert account is not None
    assert account.auth_version == (1 if action == "enable_person" else 0)
    assert [each.user_id for each in await scene.events("user.change_refused")] == [viewer]


@postgresql_only
async def test_link_is_void_for_who_becomes_an_operator_while_it_is_used(scene: Scene) -> None:
    viewer = scene.id_of("viewer")
    link = await service.offer_new_password(scene.resources, scene.id_of("admin"), viewer)
    async with scene.resources.database.write() as db:
        await db.execute(update(User).where(User.id == viewer).values(is_operator=True))
        deed = asyncio.ensure_future(reset_by_link(scene.resources, link.token, password=NEW_PASSWORD))
        await until(lambda: waits_for_a_row(scene.resources))
    with pytest.raises(LinkSpent):
        await deed
    assert await sign_in(scene, scene.users["viewer"].email, PASSWORD) == 200


@postgresql_only
async def test_demotion_under_way_voids_what_the_admin_does_meanwhile(scene: Scene) -> None:
    admin = scene.id_of("admin")
    kept = await invite_by(scene.resources, admin, "kept@test.example", "admin")
    async with scene.resources.database.write() as db:
        await db.execute(update(User).where(User.id == admin).values(role="member"))
        deeds = [
            asyncio.ensure_future(invite_by(scene.resources, admin, "late@test.example", "admin")),
            asyncio.ensure_future(join(scene.resources, kept.token, name="Late", password=NEW_PASSWORD)),
        ]
        await until(lambda: waits_for_a_row(scene.resources))
    outcomes = await asyncio.gather(*deeds, return_exceptions=True)
    assert [type(each) for each in outcomes] == [Forbidden, LinkSpent]


async def test_two_admins_who_act_on_each_other_both_get_an_answer(scene: Scene) -> None:
    other = await make_user(scene.resources.database, scene.organisation, role="admin")
    admin = scene.id_of("admin")
    links = await asyncio.gather(
        *(service.offer_new_password(scene.resources, by, whom) for by, whom in ((admin, other.id), (other.id, admin)) for _ in range(8))
    )
    assert len({link.id for link in links}) == 16


@sqlite_only
async def test_command_makes_and_unmakes_an_operator(scene: Scene, environ: dict[str, str]) -> None:
    viewer, browser = scene.users["viewer"], await scene.client("viewer")
    cli = CliRunner(env=environ)

    async def call(*arguments: str, code: int = 0) -> str:
        done = await asyncio.to_thread(cli.invoke, user_command, [*arguments])
        assert done.exit_code == code, done.output
        return done.output

    assert "no admin of an organisation can change" in await call("operator", viewer.email)
    assert (await browser.get("/api/me")).status_code == 401, "signs in again as what they are now"
    assert (await scene.user("viewer")).is_operator
    await call("operator", viewer.email, "--withdraw")
    assert not (await scene.user("viewer")).is_operator
    assert "no user" in await call("operator", "nobody@nowhere.example", code=1)
    assert [each.payload["is_operator"] for each in await scene.events("user.operator_changed")] == [True, False]
