"""What is refused for security's sake is one structured line, counted, and bounded; it says who and where, and nothing of what was sent."""

import asyncio
import json
from typing import Any

import pytest

from app.core.config import Settings, load_settings
from app.core.logging import configure_logging
from app.core.metrics import METRICS
from app.http.security_events import KINDS, LINES_A_WINDOW
from tests.factories import PASSWORD
from tests.integration.scene import Scene

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    return load_settings(environ | {"RATE_LIMIT_LOGIN": "2", "RATE_LIMIT_SELECT": "1"})


@pytest.fixture
async def scene(scene: Scene, settings: Settings) -> Scene:
    for who in ("viewer", "admin"):
        await scene.call(who, "GET", "~")
    configure_logging(settings)
    return scene


def counted() -> dict[str, float]:
    return {kind: METRICS.security_events.labels(kind)._value.get() for kind in KINDS}


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    return [line for line in found if "security_event" in line or "left_out" in line]


async def test_each_kind_of_refusal_is_one_line_and_one_count(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    stranger, viewer = scene.app.test_client(), await scene.client("viewer")
    await viewer.post(f"{scene.path}/select")
    wrong = {"json": {"email": "wrong-address@elsewhere.example", "password": "hunter2hunter2"}}
    asked: list[tuple[str, Any, str, str, dict[str, Any], int]] = [
        ("cross_site", viewer, "POST", f"{scene.path}/select", {"headers": {"Origin": "https://evil.example"}}, 403),
        ("unknown_host", stranger, "GET", "/login", {"headers": {"Host": "evil.example"}}, 400),
        ("forbidden", viewer, "PATCH", scene.path, {"json": {"name": "hunter2"}}, 403),
        ("forbidden", viewer, "GET", "/ops", {}, 403),
        ("link_refused", stranger, "GET", "/link?token=hunter2", {}, 404),
        ("too_large", stranger, "GET", "/login?" + "a" * 20_000, {}, 414),
        ("too_large", viewer, "PATCH", "/api/me", {"json": {"name": "a" * 100_000}}, 413),
        ("rate_limited", viewer, "POST", f"{scene.path}/select", {}, 429),
        ("sign_in_failed", stranger, "POST", "/api/auth/login", wrong, 401),
        ("sign_in_failed", stranger, "POST", "/login", {"data": b"email=a@b.example&password=hunter2", "headers": FORM}, 401),
        ("sign_in_slowed", stranger, "POST", "/api/auth/login", wrong, 429),
        ("sign_in_failed", viewer, "POST", "/api/me/password", {"json": {"current_password": "a", "new_password": "hunter2"}}, 400),
    ]
    capsys.readouterr()
    for kind, client, method, path, options, status in asked:
        before = counted()
        answer = await client.open(path, method=method, **options)
        assert answer.status_code == status, (kind, path)
        [line] = lines(capsys)
        assert (line["security_event"], line["status"], line["address"]) == (kind, status, "<local>"), path
        assert line["user_id"] == (scene.id_of("viewer") if client is viewer else None), path
        assert {"endpoint", "method", "level", "timestamp"} <= line.keys()
        assert [word for word in ("hunter2", "evil", "elsewhere") if word in str(line)] == []
        assert {each: value - before[each] for each, value in counted().items() if value != before[each]} == {kind: 1}


async def test_cookie_that_is_worth_nothing_is_told_from_no_cookie(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert (await scene.app.test_client().get("/api/me")).status_code == 401
    assert lines(capsys) == [], "somebody who has not signed in yet"
    for value in ("made-up", "eyJ.x.y"):
        assert (await scene.app.test_client().get("/api/me", headers={"Cookie": f"holdfast_auth={value}"})).status_code == 401
        [line] = lines(capsys)
        assert line["security_event"] == "not_signed_in"
        assert value not in str(line)


async def test_what_goes_wrong_in_good_faith_is_no_security_event(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for who, method, path, options in (
        ("viewer", "GET", "/api/deals/999", {}),
        ("viewer", "GET", "/nowhere", {}),
        ("admin", "PATCH", "~", {"json": {"name": ""}}),
        ("admin", "PATCH", "~", {"json": {"name": "Other", "version": 17}}),
    ):
        client = await scene.client(who)
        assert 400 <= (await client.open(path.replace("~", scene.path), method=method, **options)).status_code < 500
    assert lines(capsys) == []


async def test_many_refusals_do_not_fill_the_log_and_are_all_counted(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    viewer, before = await scene.client("viewer"), counted()
    capsys.readouterr()
    for _ in range(LINES_A_WINDOW + 25):
        assert (await viewer.get("/ops")).status_code == 403
    assert (await scene.app.test_client().get("/login", headers={"Host": "evil.example"})).status_code == 400
    told = lines(capsys)
    assert [line["security_event"] for line in told] == ["forbidden"] * LINES_A_WINDOW + ["unknown_host"], (
        "another kind is not kept out by it"
    )
    scene.app.extensions["security_events"].close_window()
    [line] = lines(capsys)
    assert line["left_out"] == {"forbidden": 25}
    assert counted()["forbidden"] - before["forbidden"] == LINES_A_WINDOW + 25
    await viewer.get("/ops")
    assert len(lines(capsys)) == 1, "a new window"


async def test_sum_is_told_without_another_refusal(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.http.security_events.WINDOW_SECONDS", 0.5)
    viewer = await scene.client("viewer")
    scene.app.extensions["security_events"].close_window()
    capsys.readouterr()
    for _ in range(200):  # as many as it takes to have more than fit within one window
        await viewer.get("/ops")
    told: list[dict[str, Any]] = []
    async with asyncio.timeout(10):
        while not any("left_out" in line for line in told):
            await asyncio.sleep(0.01)
            told += lines(capsys)


async def test_sign_ins_are_on_record_with_their_address(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    client = scene.app.test_client()
    at = {"scope_base": {"client": ("203.0.113.9", 4711)}}
    for password, status in ((PASSWORD, 200), ("wrong", 401)):
        answer = await client.post("/api/auth/login", json={"email": scene.users["owner"].email, "password": password}, **at)
        assert answer.status_code == status
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "203.0.113.9" in line]
    assert [line["event"] for line in told] == ["Signed in.", "Sign-in refused.", "Security event."]
    for event in (await scene.events("login.succeeded"))[-1], (await scene.events("login.failed"))[-1]:
        assert (event.user_id, event.payload["address"]) == (scene.id_of("owner"), "203.0.113.9")
