"""`holdfast user …` and `holdfast sessions revoke`: what an operator does to accounts from the shell."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import click

from app.auth.operators import set_operator
from app.auth.people import add_user
from app.auth.personal_data import count_administrators, erase_person, export_person
from app.auth.service import disable_user, get_account, reset_password, revoke_logins
from app.core.config import load_settings
from app.resources import Resources, open_resources

T = TypeVar("T")

# Never an argument: those can be read in the list of processes and in the shell's history.
password_option = click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking for it.")


@click.group()
def user() -> None:
    """Add, disable, export or erase a person, or give them a new password."""


@user.command()
@click.argument("email")
@click.option("--name", required=True, help="The person's name, as others see it.")
@click.option("--organisation", required=True, help="Made when there is none of that name.")
@click.option("--admin", is_flag=True, help="Admin of the organisation: sees and manages all of its deals.")
@click.option("--operator", is_flag=True, help="Operator of this installation: sees jobs and sessions, no deals.")
@password_option
def add(email: str, name: str, organisation: str, admin: bool, operator: bool, password_stdin: bool) -> None:
    """Add a person who signs in with EMAIL."""
    password = _read_password(password_stdin)
    user_id = _run(
        lambda resources: add_user(resources, email, password, name=name, organisation=organisation, is_admin=admin, is_operator=operator)
    )
    click.echo(f"Added {email} (user {user_id}).")
    if operator:
        click.echo(f"Admins of {organisation} see this account in their list of people and can change nothing about it.")


@user.command()
@click.argument("email")
@click.option("--withdraw", is_flag=True, help="An operator no longer.")
def operator(email: str, withdraw: bool) -> None:
    """Make EMAIL an operator of this installation. Ends every login of theirs, and every link an admin made for them."""
    _run(lambda resources: set_operator(resources, email, is_operator=not withdraw))
    said = "is an operator no longer" if withdraw else "is an operator, whom no admin of an organisation can change"
    click.echo(f"{email} {said}. Every login of theirs has ended.")


@user.command()
@click.argument("email")
def disable(email: str) -> None:
    """Let EMAIL sign in no more, and end every login of theirs."""
    _run(lambda resources: disable_user(resources, email))
    click.echo(f"Disabled {email}. Every login of theirs has ended.")


@user.command("reset-password")
@click.argument("email")
@password_option
def reset(email: str, password_stdin: bool) -> None:
    """Give EMAIL a new password, and end every login of theirs."""
    password = _read_password(password_stdin)
    _run(lambda resources: reset_password(resources, email, password))
    click.echo(f"Changed the password of {email}. Every login of theirs has ended.")


@user.command()
@click.argument("email")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of standard output.")
def export(email: str, output: Path | None) -> None:
    """Write everything kept of EMAIL as JSON: what the person themselves can download."""

    async def write(resources: Resources) -> None:
        user_id = (await get_account(resources, email)).id
        with output.open("w", encoding="utf-8") if output else nullcontext(sys.stdout) as file:
            async for piece in export_person(resources, user_id):
                file.write(piece)

    _run(write)
    if output:
        click.echo(f"Wrote {output}.", err=True)


@user.command()
@click.argument("email")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(email: str, yes: bool) -> None:
    """Delete EMAIL for good: the audit trail keeps a number without a name, their deals have no owner."""
    if not yes:
        click.confirm(f"Erase {email} for good? This cannot be undone", abort=True)
    user_id, administrators = _run(lambda resources: _erase(resources, email))
    click.echo(f"Erased {email}. The audit trail knows user {user_id} by this number alone.")
    if not administrators:
        click.echo("Their organisation has no administrator now: make one with `holdfast user add --admin`.", err=True)


async def _erase(resources: Resources, email: str) -> tuple[int, int]:
    account = await get_account(resources, email)
    await erase_person(resources, email)
    async with resources.database.read() as db:
        return account.id, await count_administrators(db, account.organisation_id)


@click.command()
@click.argument("email")
def revoke(email: str) -> None:
    """Sign EMAIL out everywhere."""
    ended = _run(lambda resources: revoke_logins(resources, email))
    click.echo(f"Ended {len(ended)} login{'' if len(ended) == 1 else 's'} of {email}.")


def _read_password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


def _run(work: Callable[[Resources], Awaitable[T]]) -> T:
    """Do `work` with everything open. What it cannot find or use ends in one line."""

    async def main() -> T:
        async with open_resources(load_settings(), kind="cli") as resources:
            return await work(resources)

    try:
        return asyncio.run(main())
    except (LookupError, ValueError) as wrong:
        raise click.ClickException(str(wrong)) from None
