"""`holdfast explain EMAIL`."""

import asyncio
from collections.abc import Iterator

import click

from app.core.config import Settings, load_settings
from app.core.database import Database
from app.ops.console.schemas import Explanation, Happening
from app.ops.explain.explain import explain as explain_person

TITLES = {
    "url": "address",
    "session": "this browser's session",
    "last_deal": "last deal",
    "only_deal": "only deal",
    "list": "list of deals",
}
STATES = {"decides": "→ decides", "passes": "passes", "not_reached": "not reached"}


@click.command()
@click.argument("email")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(email: str, *, as_json: bool) -> None:
    """Say why EMAIL's deal is or is not current, what the next request does, and the fix. Needs SQL only.

    Exit status 1 when there is no such person, or SQL cannot say.
    """
    found = asyncio.run(_explain(load_settings(), email))
    if found is None:
        raise click.ClickException(f"There is no user {email}.")
    click.echo(found.model_dump_json(indent=2) if as_json else "\n".join(_lines(found)))


async def _explain(settings: Settings, email: str) -> Explanation | None:
    database = Database(settings.database_url, name="holdfast-explain")
    try:
        async with database.read() as db:
            return await explain_person(db, settings, email, now=database.clock.now())
    finally:
        await database.close()


def _lines(found: Explanation) -> Iterator[str]:
    user = found.user
    yield f"{user.email} (user {user.id}, {user.organisation}, {user.role})"
    yield ""
    yield found.answer
    yield f"Fix: {found.fix}"
    yield ""
    yield "The rule, step by step"
    for step in found.steps:
        yield f"  {TITLES[step.step]:24} {STATES[step.state]:12} {step.found}"
        if step.last_change:
            yield f"  {'':24} {'':12} last change: {_line(step.last_change)}"
    yield ""
    yield "Browsers" if found.browsers else "No browser is signed in. At the next sign-in: " + found.next_sign_in.words
    for each in found.browsers:
        yield f"  login {each.login_id}, {each.device}, last active {each.last_active:%Y-%m-%d %H:%M:%S} UTC"
        yield f"    {each.next.words}"
    if found.history:
        yield ""
        yield "Last events"
        yield from (f"  {_line(each)}" for each in found.history)


def _line(each: Happening) -> str:
    deal = f" deal {each.deal_id}" if each.deal_id else ""
    return f"{each.at:%Y-%m-%d %H:%M:%S} {each.kind}{deal} by {each.by}{f' ({each.reason})' if each.reason else ''}"
