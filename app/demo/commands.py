"""The command `holdfast seed-demo`."""

import asyncio
import json
from dataclasses import asdict

import click
from sqlalchemy.exc import ProgrammingError

from app.auth.passwords import hash_password
from app.core.clock import Clock
from app.core.config import Settings, load_settings
from app.core.database import Database
from app.core.errors import DatabaseUnavailable
from app.demo import seed
from app.imports.commands import NO_TABLES


@click.command("seed-demo")
@click.option("--json", "as_json", is_flag=True, help="Print what was added as JSON, with the warnings about the data.")
def seed_demo(*, as_json: bool) -> None:
    """Add the demo data: 65 acquirers as organisations, their 1,643 acquisitions as deals, and people to sign in as.

    Can be repeated: an organisation that was laid out once is left as its people have it. Refused in production.
    """
    settings = load_settings()
    if settings.is_production:
        raise click.ClickException("seed-demo adds accounts whose password is public: it is refused while HOLDFAST_ENV=production.")
    try:
        seeded = asyncio.run(run_seed(settings))
    except ProgrammingError as error:
        raise DatabaseUnavailable(NO_TABLES) from error
    if as_json:
        click.echo(json.dumps(asdict(seeded), ensure_ascii=False, indent=2))
    elif seeded.organisations:
        malformed = sum(warning.code == "malformed_date" for warning in seeded.warnings)
        click.echo(
            f"Demo data: added {seeded.organisations} organisations, {seeded.deals:,} deals and {seeded.people} people "
            f"({malformed} malformed date left empty, {len(seeded.warnings) - malformed} dates that disagree with their year)."
        )
    else:
        click.echo("Demo data: already there.")


async def run_seed(settings: Settings, clock: Clock | None = None) -> seed.Seeded:
    """Lay out what is missing of the demo data, in one transaction."""
    demo = seed.read_demo()
    database = Database(settings.database_url, name="holdfast-seed", clock=clock)
    try:
        async with database.read() as db:
            if not await seed.list_missing(db, sorted(demo.rows)):
                return seed.Seeded()
        addresses = [person.email for person in seed.PEOPLE]
        # Before the transaction: hashing takes longer than everything that is done under the lock.
        hashes = await asyncio.gather(*(hash_password(seed.DEMO_PASSWORD, settings) for _ in addresses))
        async with database.write() as db:
            return await seed.seed_demo(db, demo, dict(zip(addresses, hashes, strict=True)), at=database.clock.now())
    finally:
        await database.close()
