"""The command `holdfast audit`."""

import asyncio
import json
import sys
from dataclasses import asdict
from typing import Any

import click

from app.core.config import Settings, load_settings
from app.core.database import Database
from app.events.audit import Progress, Verdict, verify
from app.ops.commands import as_json_option


@click.group()
def audit() -> None:
    """Verify the sealed chain of events."""


@audit.command("verify")
@as_json_option
def verify_(*, as_json: bool) -> None:
    """Seal what is new, then check every event against its seal. Exit status 1 on tampering, with the first bad row named.

    The head of a chain proves everything before it: keep it elsewhere, and not even the end can be cut off unseen.
    """
    with click.progressbar(length=0, label="Verifying", file=sys.stderr, hidden=as_json or not sys.stderr.isatty()) as bar:

        async def advance(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        verdict = asyncio.run(_verify(load_settings(), advance))
    if as_json:
        click.echo(json.dumps(_as_json(verdict), indent=2))
    elif verdict.is_sound:
        click.echo(f"Sound: {verdict.events} events in {len(verdict.heads)} chains.")
    else:
        for fault in verdict.faults:
            click.echo(str(fault))
        click.echo(f"Tampered with: {len(verdict.faults)} bad rows, the first is event {verdict.faults[0].event_id}.", err=True)
    if not verdict.is_sound:
        raise click.exceptions.Exit(1)


async def _verify(settings: Settings, progress: Progress) -> Verdict:
    database = Database(settings.database_url, name="holdfast-cli")
    try:
        return await verify(database, await database.synchronized_clock(), progress=progress)
    finally:
        await database.close()


def _as_json(verdict: Verdict) -> dict[str, Any]:
    heads = [{"organisation_id": chain, "events": sequence, "hash": head} for chain, (sequence, head) in sorted(verdict.heads.items())]
    return {"sound": verdict.is_sound, "events": verdict.events, "faults": [asdict(fault) for fault in verdict.faults], "heads": heads}
