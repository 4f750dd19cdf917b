"""`holdfast user …` and `holdfast sessions revoke`, as an operator types them."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from click.testing import CliRunner, Result
from quart import Quart
from sqlalchemy import select

from app.cli import cli
from app.core.database import Database
from app.models import Event, Organisation, User

# Words and exit statuses; what they do in SQL runs on both.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

EMAIL, PASSWORD, NEW = "ann@example.com", "correct horse battery staple", "a new and better passphrase"
ADD = ("user", "add", EMAIL, "--name", "Ann", "--organisation", "Acme", "--password-stdin")

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(environ: dict[str, str]) -> Run:
    async def run(*arguments: str, password: str = PASSWORD) -> Result:
        # In a thread, because a command has an event loop of its own.
        return await asyncio.to_thread(CliRunner().invoke, cli, arguments, input=f"{password}\n", env=environ)

    return run


async def sign_in(app: Quart, password: str = PASSWORD) -> int:
    return (await app.test_client().post("/api/auth/login", json={"email": EMAIL, "password": password})).status_code


async def test_added_person_has_the_roles_given_and_can_sign_in(run: Run, database: Database, app: Quart) -> None:
    done = await run(*ADD, "--admin", "--operator")
    assert done.exit_code == 0, done.output
    assert PASSWORD not in done.output
    async with database.read() as db:
        user = (await db.scalars(select(User))).one()
        assert list(await db.scalars(select(Organisation.name))) == ["Acme"]
        assert "user.added" in list(await db.scalars(select(Event.kind)))
    assert (user.role, user.is_operator, user.password_hash[:10]) == ("admin", True, "$argon2id$")
    assert await sign_in(app) == 200


@on_sqlite
async def test_second_person_joins_the_organisation_there_is(run: Run, database: Database) -> None:
    await run(*ADD)
    assert (await run("user", "add", "bob@example.com", *ADD[3:])).exit_code == 0
    async with database.read() as db:
        assert len({user.organisation_id for user in await db.scalars(select(User))}) == 1


@on_sqlite
@pytest.mark.parametrize("email", ["ann", "@example.com", "ann@", "a b@example.com", "a@b@c", "ann@example.com\u202e"])
async def test_what_is_no_address_is_refused(run: Run, email: str) -> None:
    done = await run("user", "add", email, *ADD[3:])
    assert (done.exit_code, "is not an e-mail address" in done.output) == (1, True)


@on_sqlite
async def test_person_is_not_added_twice(run: Run) -> None:
    await run(*ADD)
    done = await run(*ADD)
    assert (done.exit_code, done.stderr) == (1, f"Error: There is a user {EMAIL} already.\n")


@on_sqlite
async def test_weak_password_is_refused(run: Run) -> None:
    done = await run(*ADD, password="password1")
    assert (done.exit_code, "first anybody would try" in done.stderr) == (1, True)


@on_sqlite
async def test_reset_password_replaces_the_old_one(run: Run, app: Quart) -> None:
    await run(*ADD)
    assert (await run("user", "reset-password", EMAIL, "--password-stdin", password=NEW)).exit_code == 0
    assert [await sign_in(app), await sign_in(app, NEW)] == [401, 200]


@on_sqlite
async def test_disabled_person_is_out_at_once(run: Run, app: Quart) -> None:
    await run(*ADD)
    client = app.test_client()
    await client.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD})
    assert (await run("user", "disable", EMAIL)).exit_code == 0
    assert (await client.get("/api/me")).status_code == 401
    assert await sign_in(app) == 401


async def test_revoked_sessions_are_over_and_counted(run: Run, app: Quart) -> None:
    await run(*ADD)
    client = app.test_client()
    await client.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD})
    done = await run("sessions", "revoke", EMAIL)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, f"Ended 1 login of {EMAIL}.")
    assert (await client.get("/api/me")).status_code == 401
    assert await sign_in(app) == 200


@on_sqlite
@pytest.mark.parametrize("command", [("user", "disable"), ("user", "reset-password", "--password-stdin"), ("sessions", "revoke")])
async def test_unknown_person_is_named(run: Run, command: tuple[str, ...]) -> None:
    done = await run(*command, "eve@example.com")
    assert (done.exit_code, done.stderr) == (1, "Error: There is no user eve@example.com.\n")
