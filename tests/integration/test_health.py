"""Health, figures and the doctor: who is told what, and that they tell the truth."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from quart import Quart

from app.core.clock import Clock
from app.core.config import Settings, load_settings
from app.core.time_budget import current_time_budget
from app.factory import create_app
from app.ops.commands import doctor as doctor_command
from app.ops.health.checks import check_health
from app.ops.health.doctor import Check, examine
from app.resources import Resources
from tests.conftest import StartRedis, StartWeb
from tests.factories import PASSWORD, make_user
from tests.fakes import FakeClock
from tests.waiting import until

# Answers in which SQL has no part.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def house_of(app: Quart) -> Resources:
    resources: Resources = app.extensions["holdfast"]
    return resources


async def health(app: Quart, *, as_: str | None = None, query: str = "") -> tuple[int, Any]:
    client = app.test_client()
    if as_:
        await client.post("/api/auth/login", json={"email": as_, "password": PASSWORD})
    response = await client.get(f"/api/health/session{query}")
    return response.status_code, await response.get_json()


@on_sqlite
async def test_the_public_is_told_status_and_backend_only(app: Quart) -> None:
    assert await health(app) == (200, {"status": "healthy", "backend": "redis"})


@on_sqlite
async def test_operators_are_told_why(app: Quart) -> None:
    operator = await make_user(house_of(app).database, is_operator=True)
    _, told = await health(app, as_=operator.email)
    assert told["epoch"] == 1
    assert told["checks"] == {"sql": "ok", "redis": "ok", "flag": "redis", "reason": "start: Redis is healthy", "breaker": "closed"}


@on_sqlite
@pytest.mark.parametrize("redis_url", ["none"], indirect=True)
async def test_a_site_without_redis_is_healthy(app: Quart) -> None:
    assert await health(app, query="?strict=1") == (200, {"status": "healthy", "backend": "sqlalchemy"})


async def test_health_tells_that_redis_is_gone_and_strict_health_refuses(start_web: StartWeb, start_redis: StartRedis) -> None:
    redis = start_redis()
    web = await start_web({"REDIS_URL": redis.url})
    async with httpx.AsyncClient(base_url=web.url, trust_env=False) as client:
        assert (await client.get("/api/health/session?strict=1")).status_code == 200
        redis.kill()

        async def is_degraded() -> bool:
            return bool((await client.get("/api/health/session")).json() == {"status": "degraded", "backend": "sqlalchemy"})

        await until(is_degraded)
        assert (await client.get("/api/health/session?strict=1")).status_code == 503
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.get("/health/live")).status_code == 200


@on_sqlite
async def test_figures_parse_and_tell_the_backend(app: Quart) -> None:
    response = await app.test_client().get("/metrics", scope_base={"client": ("127.0.0.1", 1)})
    assert response.status_code == 200
    families = {family.name: family for family in text_string_to_metric_families(await response.get_data(as_text=True))}
    assert families["holdfast_session_backend_redis"].samples[0].value == 1
    assert families["holdfast_breaker_open"].samples[0].value == 0


@on_sqlite
async def test_figures_are_not_for_strangers(app: Quart) -> None:
    response = await app.test_client().get("/metrics", scope_base={"client": ("192.0.2.1", 1)})
    assert response.status_code == 403


async def test_the_doctor_names_what_is_wrong_and_its_fix(environ: dict[str, str], app: Quart) -> None:
    """A site without a worker, and a Redis that cannot be reached from here."""
    findings = await examine(load_settings(environ | {"REDIS_URL": "redis://127.0.0.1:1"}), Clock())
    states = {finding.check: finding.state for finding in findings}
    assert states == {
        "database": "ok",
        "redis": "warning",
        "schema": "ok",
        "session backend": "ok",
        "processes": "warning",
        "jobs in time": "ok",
        "last runs of jobs": "ok",
        "events": "ok",
        "sessions": "ok",
        "last deals": "ok",
        "auto-restore": "ok",
        "clocks": "ok",
    }
    assert all(finding.fix for finding in findings if finding.state != "ok")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_the_doctor_sees_who_lives_by_a_clock_that_is_wrong(environ: dict[str, str], app: Quart) -> None:
    for minutes in (-10, 10):
        findings = await examine(load_settings(environ), FakeClock(datetime.now(UTC) + timedelta(minutes=minutes)))
        assert next(each.found for each in findings if each.check == "processes") == "1 web, 0 worker"


async def test_the_doctor_works_with_the_database_away(environ: dict[str, str]) -> None:
    findings = await examine(load_settings(environ | {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}), Clock())
    assert findings[0].state == "failed"
    assert "DATABASE_URL" in findings[0].fix


async def test_doctor_and_health_know_a_database_without_tables_from_one_that_is_away(empty_database_url: str) -> None:
    settings = load_settings({"DATABASE_URL": empty_database_url})
    findings = await examine(settings, Clock())
    assert [(finding.check, finding.state) for finding in findings] == [("database", "ok"), ("redis", "ok"), ("schema", "failed")]
    assert findings[-1].fix == "holdfast migrate"
    found = await check_health(settings)
    assert (found.status, found.checks["database"]) == ("unhealthy", "The tables are missing: holdfast migrate.")


def test_the_doctors_command_prints_and_exits(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(doctor_command, ["--json"])
    assert done.exit_code == 0, done.output
    assert {Check(**finding).check for finding in json.loads(done.output)} >= {"database", "redis", "processes"}


async def test_what_a_server_starts_is_no_request_with_a_time_budget_of_two_seconds(settings: Settings) -> None:
    """The poll of the backend waits for SQL a little each second; counted as one request it would soon wait no more."""
    app, budgets = create_app(settings), []

    @app.before_serving
    async def note() -> None:
        budgets.append(current_time_budget())

    async with app.test_app():
        assert budgets == [None]
