"""The commands that run, migrate and maintain an installation."""

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TypeVar

import click

from app.auth.commands import revoke
from app.core.clock import Clock
from app.core.config import ConfigError, Settings, load_settings, mask_url, masked
from app.core.database import Database
from app.core.logging import configure_logging, warn_of_weak_settings
from app.core.metrics import SHARED_DIRECTORY
from app.core.migrate import MigrationError, downgrade, upgrade
from app.core.python_versions import warn_if_untested
from app.ops.health.checks import check_health
from app.ops.health.doctor import examine
from app.ops.statistics.counts import SessionFigures, count_sessions
from app.resources import record_flip
from app.server.server import serve
from app.sessions.expiry import Expired, expire_sessions
from app.sessions.raise_epoch import become_another_installation, raise_epoch

T = TypeVar("T")

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
def web() -> None:
    """Serve the site at HOST and PORT until SIGTERM or Ctrl-C."""
    settings = load_settings()
    configure_logging(settings)
    warn_if_untested()
    warn_of_weak_settings(settings)
    if settings.web_concurrency > 1:
        _share_figures(settings)
    serve(settings)


@click.command()
def migrate() -> None:
    """Bring the database to this version's tables. Can be repeated; several at once wait for each other."""
    settings = load_settings()
    try:
        applied = upgrade(settings.database_url)
    except MigrationError as error:
        raise refused(settings, error) from None
    click.echo(f"Migrated: {', '.join(applied)}." if applied else "Migrated: nothing to do.")


@click.command()
@click.option("--to", "revision", default="-1", metavar="REVISION", help='Back to this revision, or "base". One step without it.')
@click.option("--yes", is_flag=True, help="Do not ask.")
def rollback(*, revision: str, yes: bool) -> None:
    """Take back the last migration. What only its tables and columns hold is lost."""
    settings = load_settings()
    if not yes:
        click.confirm(f"Take back migrations ({revision}) in {mask_url(settings.database_url)} with the data only they hold?", abort=True)
    try:
        undone = downgrade(settings.database_url, revision)
    except MigrationError as error:
        raise refused(settings, error) from None
    click.echo(f"Rolled back: {', '.join(undone)}." if undone else "Rolled back: nothing to do.")


@click.command()
@as_json_option
def config(*, as_json: bool) -> None:
    """Show the effective settings, secrets masked."""
    values = masked(load_settings())
    click.echo(json.dumps(values, indent=2) if as_json else "\n".join(f"{name}={value}" for name, value in values.items()))


@click.command()
@as_json_option
def health(*, as_json: bool) -> None:
    """Check database, Redis and session backend. Exit status 1 when sessions cannot be kept."""
    found = asyncio.run(check_health(load_settings()))
    lines = [f"status: {found.status}", f"backend: {found.backend}", *(f"{name}: {result}" for name, result in found.checks.items())]
    click.echo(json.dumps(asdict(found), indent=2) if as_json else "\n".join(lines))
    if found.status == "unhealthy":
        raise click.exceptions.Exit(1)


@click.command()
@as_json_option
def doctor(*, as_json: bool) -> None:
    """Make the emergency checks and name the fix of each that fails. Exit status 1 when one failed."""
    findings = asyncio.run(examine(load_settings(), Clock()))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{finding.state:8} {finding.check}: {finding.found}")
            if finding.fix:
                click.echo(f"{'':8} → {finding.fix}")
    if any(finding.state == "failed" for finding in findings):
        raise click.exceptions.Exit(1)


@click.group()
def sessions() -> None:
    """Count, purge or revoke sessions."""


sessions.add_command(revoke)


@sessions.command()
@as_json_option
def stats(*, as_json: bool) -> None:
    """Count sessions and logins."""
    figures = asdict(asyncio.run(_figures(load_settings())))
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in figures.items()]
    click.echo(json.dumps(figures, indent=2) if as_json else "\n".join(lines))


@sessions.command()
def purge() -> None:
    """Delete expired sessions and dead logins now, as the nightly job does."""
    gone = asyncio.run(_purge(load_settings()))
    click.echo(f"Deleted {gone.sessions} expired sessions and {gone.logins} dead logins.")


@sessions.command("raise-epoch")
def raise_epoch_by_hand() -> None:
    """Have nothing believed that is in Redis now: after SQL was restored from a backup, before the site starts on it.

    Costs nobody anything: the next read of each session comes from SQL.
    """
    epoch = asyncio.run(_write(load_settings(), raise_epoch))
    click.echo(f"Epoch {epoch}. Sessions are read from SQL until Redis is back under a newer one, which happens by itself.")


@sessions.command("new-installation-id")
def new_installation_id() -> None:
    """Have a copy of a database go by names of its own in Redis: on the copy, before its processes start, or restart them then."""
    installation_id = asyncio.run(_write(load_settings(), become_another_installation))
    click.echo(f"Installation {installation_id}: its keys begin with hf:{installation_id}: unless REDIS_PREFIX says otherwise.")
    click.echo("Restart every web and worker process of this installation now.")


def _share_figures(settings: Settings) -> None:
    """Where the web processes count together, begun anew with each start."""
    if os.environ.get(SHARED_DIRECTORY):
        return
    folder = settings.data_dir / "metrics" / str(settings.port)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        hint = f"{folder}, where web processes count together, cannot be made ({error.strerror}); {SHARED_DIRECTORY} may name another"
        raise ConfigError([f"WEB_CONCURRENCY={settings.web_concurrency}: {hint}"]) from None
    os.environ[SHARED_DIRECTORY] = str(folder)


def refused(settings: Settings, error: MigrationError) -> click.ClickException:
    return click.ClickException(f"DATABASE_URL={mask_url(settings.database_url)!r}: {error}")


async def _figures(settings: Settings) -> SessionFigures:
    database = Database(settings.database_url, name="holdfast-cli")
    try:
        async with database.read() as db:
            return await count_sessions(db, database.clock.now())
    finally:
        await database.close()


async def _purge(settings: Settings) -> Expired:
    database = Database(settings.database_url, name="holdfast-cli")
    try:
        return await expire_sessions(database, await database.synchronized_clock())
    finally:
        await database.close()


async def _write(settings: Settings, change: Callable[..., Awaitable[T]]) -> T:
    database = Database(settings.database_url, name="holdfast-cli")
    try:
        async with database.write() as db:
            return await change(db, database.clock, record_flip=record_flip)
    finally:
        await database.close()
