"""Whether the time of a refused sign-in tells an unknown name, a wrong password and a disabled account apart.

The app runs in this process with the production cost of argon2. Kinds take turns, so that whatever else the machine does meets all alike;
each attempt has a name and an address of its own, since failures slow both down.
"""

import asyncio
import time
from ipaddress import IPv4Address
from itertools import count
from statistics import fmean, stdev

import click
import structlog
import uvloop
from sqlalchemy import update

from app.auth.passwords import hash_password
from app.core.config import load_settings
from app.core.migrate import upgrade
from app.factory import create_app
from app.models import User
from app.resources import Resources
from benchmarks.cpu.__main__ import DATABASES, databases
from tests.factories import PASSWORD, make_organisation, make_user
from tests.servers import leash

KINDS = ("unknown", "wrong", "disabled")
GOAL_MS = 5
FIRST_ADDRESS = IPv4Address("10.0.0.1")
SETTINGS = {"SECRET_KEY": "only-for-this-comparison" * 2, "LOG_LEVEL": "warning", "ENVIRONMENT": "development", "REDIS_URL": ""}


async def _measure(url: str, attempts: int) -> dict[str, list[float]]:
    """Milliseconds an attempt, by kind."""
    await asyncio.to_thread(upgrade, url)
    app = create_app(load_settings(SETTINGS | {"DATABASE_URL": url}))
    addresses = count(int(FIRST_ADDRESS))
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    async with app.test_app():
        names = await _people(app.extensions["holdfast"], attempts)
        client = app.test_client(use_cookies=False)
        for turn in range(attempts):
            for kind in KINDS:
                began = time.perf_counter()
                response = await client.post(
                    "/api/auth/login",
                    json={"email": names[kind][turn], "password": "never-the-right-one"},
                    scope_base={"client": (str(IPv4Address(next(addresses))), 1)},
                )
                times[kind].append((time.perf_counter() - began) * 1000)
                if response.status_code != 401:
                    raise click.ClickException(f"{kind} was answered {response.status_code}: {await response.get_data(as_text=True)}")
    return times


async def _people(resources: Resources, each: int) -> dict[str, list[str]]:
    database, organisation = resources.database, await make_organisation(resources.database)
    password_hash = await hash_password(PASSWORD, resources.settings)
    found = {
        kind: [(await make_user(database, organisation, password_hash=password_hash)).email for _ in range(each)]
        for kind in ("wrong", "disabled")
    }
    async with database.write() as db:
        await db.execute(update(User).where(User.email.in_(found["disabled"])).values(disabled_at=resources.clock.now()))
    return found | {"unknown": [f"nobody{number}@test.example" for number in range(each)]}


@click.command()
@click.option("--attempts", default=200, show_default=True, type=click.IntRange(2), help="Of each kind.")
@click.option("--database", "wanted", multiple=True, type=click.Choice(DATABASES), help="This one only.")
def main(*, attempts: int, wanted: tuple[str, ...]) -> None:
    """Print the mean time of each kind of refusal: they may differ by 5 ms at most."""
    click.echo("| | unknown | wrong | disabled | furthest apart |\n|---|---|---|---|---|")
    # What the app logs would bury the table.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    missed = []
    try:
        with databases(wanted or DATABASES) as urls:
            for database in wanted or DATABASES:
                times = uvloop.run(_measure(urls[database], attempts))
                means = {kind: fmean(each) for kind, each in times.items()}
                apart = max(means.values()) - min(means.values())
                missed += [database] * (apart >= GOAL_MS)
                figures = [f"{means[kind]:.1f} ± {stdev(times[kind]) / attempts**0.5:.1f} ms" for kind in KINDS]
                click.echo(f"| {database} | {' | '.join(figures)} | {apart:.1f} ms |")
    finally:
        leash.let_go()
    if missed:
        raise click.ClickException(f"The goal of {GOAL_MS} ms is missed on {' and '.join(missed)}.")


if __name__ == "__main__":
    main()
