"""Administration: invitations, roles, disabling, logins, grants and the organisation's own switch, within one's own organisation."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import select, update

from app.auth.links import LINK_LIFE, RESET_LIFE
from app.current_deal.restore import RESTORE_SWITCH, who_decides_restore
from app.models import Event, Login, OneTimeLink, Organisation, Switch, User
from app.sessions.token import hash_token
from tests.factories import PASSWORD, make_deal, make_member, make_user
from tests.fakes import FakeClock
from tests.integration.scene import Scene

NEW_PASSWORD = "another-horse-battery"
sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def token_of(link: dict[str, Any]) -> str:
    address = urlsplit(link["url"])
    assert address.path == "/link"
    token: str = parse_qs(address.query)["token"][0]
    return token


async def invite(scene: Scene, email: str = "new@test.example", role: str = "member", who: str = "admin") -> dict[str, Any]:
    status, body = await scene.call(who, "POST", "/api/admin/invitations", json={"email": email, "role": role})
    assert status == 201, body
    link: dict[str, Any] = body["link"]
    return link


async def use(
    scene: Scene, token: str, *, password: str = NEW_PASSWORD, again: str | None = None, name: str = "Newcomer"
) -> tuple[int, Any]:
    """By the form behind the link, in a browser of its own; status, and the browser."""
    client = scene.app.test_client()
    form = {"token": token, "name": name, "password": password, "again": password if again is None else again}
    return (await client.post("/link", form=form)).status_code, client


async def sign_in(scene: Scene, email: str, password: str) -> int:
    return (await scene.app.test_client().post("/api/auth/login", json={"email": email, "password": password})).status_code


@sqlite_only
async def test_invitation_lets_one_person_in_once(scene: Scene) -> None:
    link = await invite(scene)
    token = token_of(link)
    async with scene.resources.database.read() as db:
        kept = await db.scalar(select(OneTimeLink).where(OneTimeLink.id == link["id"]))
    assert kept is not None
    assert kept.token_hash == hash_token(token)
    assert token not in json.dumps({column.name: str(getattr(kept, column.name)) for column in OneTimeLink.__table__.columns})

    page = scene.app.test_client()
    for _ in range(2):
        assert (await page.get(f"/link?token={token}")).status_code == 200, "looking does not use it"
    assert (await use(scene, token, again="something else entirely"))[0] == 400
    assert (await use(scene, token, password="password1"))[0] == 400
    assert (await use(scene, token, name="\u202e\n"))[0] == 400
    status, client = await use(scene, token)
    assert status == 303
    me = (await (await client.get("/api/me")).get_json())["user"]
    assert (me["email"], me["name"], me["role"], me["organisation_id"]) == ("new@test.example", "Newcomer", "member", scene.organisation.id)
    assert (await use(scene, token))[0] == 404
    assert (await page.get(f"/link?token={token}")).status_code == 404
    assert [event.user_id for event in await scene.events("user.joined")] == [me["id"]]
    told = await scene.events("user.invited", "user.joined")
    assert "new@test.example" not in json.dumps([event.payload for event in told]), "no names in the audit"


async def test_two_who_use_a_link_at_once_are_one_person(scene: Scene) -> None:
    token = token_of(await invite(scene))
    answers = sorted(status for status, _ in await asyncio.gather(*(use(scene, token) for _ in range(3))))
    assert answers == [303, 404, 404]


@sqlite_only
async def test_links_that_are_not_open_do_nothing(scene: Scene, clock: FakeClock) -> None:
    first = token_of(await invite(scene))
    second = await invite(scene)
    assert (await use(scene, first))[0] == 404, "the newer one for an address is the one that counts"
    assert (await scene.call("admin", "DELETE", f"/api/admin/invitations/{second['id']}"))[0] == 204
    assert (await scene.call("admin", "DELETE", f"/api/admin/invitations/{second['id']}"))[0] == 404
    assert (await use(scene, token_of(second)))[0] == 404
    third = token_of(await invite(scene))
    clock.advance(LINK_LIFE)
    assert (await use(scene, third))[0] == 404
    for made_up in ("", "x", "0" * 43, "é" * 500):
        status, client = await use(scene, made_up)
        assert status == 404
        assert (await client.get("/api/me")).status_code == 401, "an unknown token is never adopted"
    # The token of a link is not that of a login, whatever a browser makes of it.
    del scene.clients["admin"]
    fourth = token_of(await invite(scene))
    async with scene.resources.database.read() as db:
        assert await db.scalar(select(Login.id).where(Login.token_hash == hash_token(fourth))) is None


@sqlite_only
async def test_address_of_another_organisation_is_not_told_and_not_taken_over(scene: Scene) -> None:
    outsider = scene.users["outsider"]
    link = await invite(scene, outsider.email)
    assert (await use(scene, token_of(link)))[0] == 409
    assert await sign_in(scene, outsider.email, PASSWORD) == 200
    status, problem = await scene.call("admin", "POST", "/api/admin/invitations", json={"email": scene.users["viewer"].email.upper()})
    assert (status, problem["code"]) == (409, "already_here")
    assert (await scene.call("admin", "POST", "/api/admin/invitations", json={"email": "nobody"}))[0] == 400


@sqlite_only
async def test_reset_link_sets_a_password_once_and_ends_every_login(scene: Scene, clock: FakeClock) -> None:
    viewer = scene.users["viewer"]
    browser = await scene.client("viewer")
    status, body = await scene.call("admin", "POST", f"/api/admin/people/{viewer.id}/reset")
    assert status == 201
    token = token_of(body["link"])
    assert (await browser.get("/api/me")).status_code == 200, "until it is used, nothing has changed"
    assert (await use(scene, token))[0] == 303
    assert (await browser.get("/api/me")).status_code == 401
    assert await sign_in(scene, viewer.email, PASSWORD) == 401
    assert await sign_in(scene, viewer.email, NEW_PASSWORD) == 200
    assert (await use(scene, token))[0] == 404
    later = token_of((await scene.call("admin", "POST", f"/api/admin/people/{viewer.id}/reset"))[1]["link"])
    clock.advance(RESET_LIFE)
    assert (await use(scene, later))[0] == 404


@sqlite_only
async def test_demoted_admin_is_out_at_once_and_leaves_no_link_behind(scene: Scene) -> None:
    second = await make_user(scene.resources.database, scene.organisation, role="admin", email="second@test.example")
    scene.users["second"] = second
    left_behind = token_of(await invite(scene, "friend@test.example", "admin", who="second"))
    browser = await scene.client("second")
    path = f"/api/admin/people/{second.id}"
    assert (await scene.call("admin", "PATCH", path, json={"role": "member"}))[0] == 200
    assert (await browser.get("/api/admin/people")).status_code == 401, "the old token is dead"
    assert (await use(scene, left_behind))[0] == 404
    del scene.clients["second"]
    for method, asked in (("GET", "/api/admin/people"), ("GET", "/api/admin/restore"), ("GET", "/api/imports"), ("GET", path)):
        assert (await scene.call("second", method, asked))[0] == 403
    assert [(event.user_id, event.actor_id, event.payload) for event in await scene.events("user.role_changed")] == [
        (second.id, scene.id_of("admin"), {"role": "member"})
    ]
    # Also where the session still says otherwise: the role is asked of SQL.
    client = await scene.client("admin")
    async with scene.resources.database.write() as db:
        await db.execute(update(User).where(User.id == scene.id_of("admin")).values(role="member"))
    assert (await client.get("/api/admin/people")).status_code == 403
    assert (await client.get("/admin/people")).status_code == 403


async def test_last_administrator_stays_one(scene: Scene) -> None:
    admin = scene.id_of("admin")
    path = f"/api/admin/people/{admin}"
    assert (await scene.call("admin", "PATCH", path, json={"role": "member"}))[1]["code"] == "last_administrator"
    assert (await scene.call("admin", "PATCH", path, json={"disabled": True}))[1]["code"] == "not_yourself"
    second = await make_user(scene.resources.database, scene.organisation, role="admin")
    scene.users["second"] = second
    # Each takes the other's role away at the same moment: one of them wins.
    await scene.client("second")
    answers = await asyncio.gather(
        scene.call("admin", "PATCH", f"/api/admin/people/{second.id}", json={"role": "member"}),
        scene.call("second", "PATCH", path, json={"role": "member"}),
    )
    assert sorted(status for status, _ in answers)[0] == 200
    async with scene.resources.database.read() as db:
        left = (await db.scalars(select(User.id).where(User.organisation_id == scene.organisation.id, User.role == "admin"))).all()
    assert len(left) == 1


@sqlite_only
async def test_disabled_person_is_out_until_enabled_and_comes_back_to_their_deal(scene: Scene) -> None:
    await scene.select("viewer")
    viewer, browser = scene.users["viewer"], await scene.client("viewer")
    path = f"/api/admin/people/{viewer.id}"
    pending = token_of((await scene.call("admin", "POST", f"{path}/reset"))[1]["link"])
    assert (await scene.call("admin", "PATCH", path, json={"disabled": True}))[1]["person"]["disabled_at"]
    assert (await browser.get("/api/me")).status_code == 401
    assert await sign_in(scene, viewer.email, PASSWORD) == 401
    assert (await use(scene, pending))[0] == 404
    assert (await scene.call("admin", "POST", f"{path}/reset"))[1]["code"] == "disabled"
    assert (await scene.call("admin", "PATCH", path, json={"disabled": False}))[1]["person"]["disabled_at"] is None
    del scene.clients["viewer"]
    assert (await scene.current("viewer"))["deal"]["id"] == scene.deal.id
    assert [event.kind for event in await scene.events("user.disabled", "user.enabled")] == ["user.disabled", "user.enabled"]


@sqlite_only
async def test_admin_sees_and_ends_logins_and_grants(scene: Scene) -> None:
    viewer = scene.id_of("viewer")
    first, second = await scene.client("viewer"), await scene.client("viewer", again=True)
    await scene.select("viewer")
    path = f"/api/admin/people/{viewer}"
    person = (await scene.call("admin", "GET", path))[1]
    assert ([grant["name"] for grant in person["grants"]], len(person["logins"])) == (["Mojang"], 2)
    assert person["person"] | {"grants": 1, "owned": 0, "role": "member"} == person["person"]
    newest = person["logins"][0]["id"]
    assert (await scene.call("admin", "DELETE", f"{path}/logins/{newest}"))[0] == 204
    assert [(await client.get("/api/me")).status_code for client in (first, second)] == [200, 401]
    other = (await scene.call("admin", "GET", f"/api/admin/people/{scene.id_of('admin')}"))[1]["logins"][0]["id"]
    assert (await scene.call("admin", "DELETE", f"{path}/logins/{other}"))[0] == 404, "not a login of that person"
    assert (await scene.call("admin", "DELETE", f"{path}/grants/{scene.deal.id}"))[0] == 204
    assert (await scene.call("admin", "DELETE", f"{path}/grants/{scene.deal.id}"))[0] == 404
    assert (await scene.current("viewer"))["deal"] is None, "out of the live session in the same step"
    assert (await scene.call("admin", "DELETE", f"{path}/logins"))[1] == {"ended": 1}
    assert (await first.get("/api/me")).status_code == 401


@sqlite_only
async def test_administration_ends_at_the_organisation(scene: Scene) -> None:
    """Somebody of another organisation answers as nobody does; members of one's own get 403; operators have no part in it."""
    async with scene.resources.database.write() as db:
        await db.execute(update(User).where(User.id == scene.id_of("outsider")).values(is_operator=True))
    link, viewer = await invite(scene), scene.id_of("viewer")
    login = (await scene.call("admin", "GET", f"/api/admin/people/{scene.id_of('admin')}"))[1]["logins"][0]["id"]

    def calls(user_id: int) -> list[tuple[str, str, dict[str, Any]]]:
        person = f"/api/admin/people/{user_id}"
        return [
            ("GET", person, {}),
            ("PATCH", person, {"json": {"role": "admin"}}),
            ("PATCH", person, {"json": {"disabled": True}}),
            ("POST", f"{person}/reset", {}),
            ("DELETE", f"{person}/logins", {}),
            ("DELETE", f"{person}/logins/{login}", {}),
            ("DELETE", f"{person}/grants/{scene.deal.id}", {}),
        ]

    own: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/api/admin/people", {}),
        ("GET", "/api/admin/invitations", {}),
        ("POST", "/api/admin/invitations", {"json": {"email": "x@test.example"}}),
        ("GET", "/api/admin/restore", {}),
        ("PATCH", "/api/admin/restore", {"json": {"enabled": False}}),
    ]
    for who, status in (("foreign_admin", 404), ("outsider", 404), ("stranger", 403), ("owner", 403)):
        for (method, path, options), (_, missing, _) in zip(calls(viewer), calls(999_999), strict=True):
            answer, problem = await scene.call(who, method, path, **options)
            assert answer == status, (who, method, path)
            if status == 404:
                assert problem | {"request_id": ""} == (await scene.call(who, method, missing, **options))[1] | {"request_id": ""}
        page = await (await scene.client(who)).get(f"/admin/people/{viewer}")
        assert page.status_code == status
    for who in ("stranger", "owner", "outsider"):
        for method, path, options in own:
            assert (await scene.call(who, method, path, **options))[0] == 403, (who, path)
    assert (await scene.call("foreign_admin", "DELETE", f"/api/admin/invitations/{link['id']}"))[0] == 404
    assert (await scene.call("foreign_admin", "GET", "/api/admin/people"))[1]["total"] == 2
    assert (await use(scene, token_of(link)))[0] == 303, "none of them touched it"
    assert (await scene.user("viewer")).role == "member"


@sqlite_only
async def test_people_are_found_by_page_in_as_many_statements(scene: Scene) -> None:
    for number in range(60):
        await make_user(scene.resources.database, scene.organisation, name=f"Ann {number:02}", email=f"ann{number}@test.example")
    first = (await scene.call("admin", "GET", "/api/admin/people?q=ANN"))[1]
    assert (first["total"], len(first["people"])) == (60, 50)
    rest = (await scene.call("admin", "GET", f"/api/admin/people?q=ANN&cursor={first['next_cursor']}"))[1]
    assert [person["name"] for person in first["people"] + rest["people"]] == [f"Ann {number:02}" for number in range(60)]
    assert rest["next_cursor"] is None
    assert (await scene.call("admin", "GET", "/api/admin/people?q=%25"))[1]["total"] == 0, "% is a letter"
    assert (await scene.call("admin", "GET", f"/api/admin/people?cursor={first['next_cursor']}"))[0] == 400
    deals = [await make_deal(scene.resources.database, scene.organisation) for _ in range(51)]
    for deal in deals:
        await make_member(scene.resources.database, deal, scene.users["stranger"])
    path = f"/api/admin/people/{scene.id_of('stranger')}"
    page = (await scene.call("admin", "GET", path))[1]
    more = (await scene.call("admin", "GET", f"{path}?cursor={page['next_cursor']}"))[1]
    assert [len(page["grants"]), len(more["grants"])] == [50, 1]


@sqlite_only
async def test_organisation_switches_restoring_off_for_itself(scene: Scene, clock: FakeClock) -> None:
    await scene.select("viewer")
    assert (await scene.call("admin", "GET", "/api/admin/restore"))[1]["switch"] == {
        "enabled": True,
        "decided_by": "organisation",
        "choice": True,
    }
    body = (await scene.call("admin", "PATCH", "/api/admin/restore", json={"enabled": False}))[1]
    assert body["switch"] == {"enabled": False, "decided_by": "organisation", "choice": False}
    assert [event.payload for event in await scene.events("organisation.auto_restore_changed")] == [{"enabled": False}]

    async def restored() -> bool:
        del scene.clients["viewer"]
        return (await scene.current("viewer"))["deal"] is not None

    assert not await restored()
    async with scene.resources.database.read() as db:
        choices = {row.id: row.auto_restore_deal for row in await db.scalars(select(Organisation))}
    assert (choices[scene.organisation.id], choices[scene.elsewhere.id]) == (False, True)
    await scene.call("admin", "PATCH", "/api/admin/restore", json={"enabled": True})
    async with scene.resources.database.write() as db:
        db.add(Switch(name=RESTORE_SWITCH, enabled=False, changed_at=scene.resources.clock.now()))
    await scene.resources.backend.refresh()
    body = (await scene.call("admin", "GET", "/api/admin/restore"))[1]
    assert body["switch"] == {"enabled": False, "decided_by": "operator", "choice": True}
    page = await (await (await scene.client("admin")).get("/admin/restore")).get_data(as_text=True)
    assert "operators of this installation have switched it off" in page
    async with scene.resources.database.write() as db:
        await db.execute(update(Switch).values(enabled=True))
    await scene.resources.backend.refresh()
    clock.advance(timedelta(minutes=2))
    assert await restored()


def test_environment_has_the_first_word_then_operators_then_the_organisation() -> None:
    assert who_decides_restore(None, None, organisation=False) == (False, "organisation")
    assert who_decides_restore(None, True, organisation=False) == (False, "organisation")
    assert who_decides_restore(None, False, organisation=True) == (False, "operator")
    assert who_decides_restore(True, False, organisation=False) == (True, "environment")


async def test_figures_tell_returns_refusals_and_sign_ins_with_nothing(scene: Scene, clock: FakeClock) -> None:
    await scene.select("viewer")
    for _ in range(2):
        await scene.client("viewer", again=True)
    assert (await scene.call("owner", "DELETE", f"~/members/{scene.id_of('viewer')}"))[0] == 204
    async with scene.resources.database.write() as db:
        await db.execute(update(User).where(User.id == scene.id_of("viewer")).values(last_deal_id=scene.deal.id))
    await scene.client("viewer", again=True)
    figures = (await scene.call("admin", "GET", "/api/admin/restore"))[1]["figures"]
    async with scene.resources.database.read() as db:
        sign_ins = len((await db.scalars(select(Event.id).where(Event.kind == "login.succeeded"))).all())
    assert (figures["restored"], figures["refused_revoked"], figures["refused"]) == (2, 1, 1)
    assert (figures["percent"], figures["sign_ins"]) == (66.7, sign_ins)
    assert figures["nothing"] == sign_ins - figures["restored"] - figures["only_deal"] - figures["refused"]
    assert (await scene.call("foreign_admin", "GET", "/api/admin/restore"))[1]["figures"]["restored"] == 0
    clock.advance(timedelta(days=31))
    del scene.clients["admin"]
    assert (await scene.call("admin", "GET", "/api/admin/restore"))[1]["figures"]["restored"] == 0
