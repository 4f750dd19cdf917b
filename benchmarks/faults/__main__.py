"""Runs every scenario against every site, prints the table, and writes RESULTS.md and results.json beside this file."""

import asyncio
import time

import click

from benchmarks.faults.report import Results, as_json, as_page, as_table, collect_versions
from benchmarks.faults.scenarios import SCENARIOS, Cell, two_writers
from benchmarks.faults.sites import HERE, Site, all_sites
from tests.servers import leash

# More at once, and two cores would be busy enough to look like a slow site.
AT_ONCE = 3


@click.command()
@click.option("--only", default="", metavar="TEXT", help="Only sites or scenarios whose name has this in it; nothing is written then.")
@click.option("--show", is_flag=True, help="Print each request's answer, too.")
def main(*, only: str, show: bool) -> None:
    """Compare what five session layers do when Redis fails."""
    began = time.monotonic()
    try:
        results = asyncio.run(_run_all(only))
    finally:
        leash.let_go()
    seconds = time.monotonic() - began
    click.echo(as_table(results))
    if show:
        click.echo(as_json(results, {}, seconds=seconds))
    if not only:
        versions = collect_versions()
        (HERE / "RESULTS.md").write_text(as_page(results, versions, seconds=seconds))
        (HERE / "results.json").write_text(as_json(results, versions, seconds=seconds))
        click.echo(f"\nWritten to {(HERE / 'RESULTS.md').relative_to(HERE.parents[1])} after {seconds:.0f} s.")


async def _run_all(only: str) -> Results:
    """The sites side by side, as most of it is waiting. What is about speed runs alone: it would be another race."""
    sites = [site for site in all_sites() if only in site.name] or all_sites()
    names = [name for name in SCENARIOS if only in name] or list(SCENARIOS)
    results: Results = {site.name: {} for site in sites}
    for name in names:
        room = asyncio.Semaphore(1 if SCENARIOS[name] is two_writers else AT_ONCE)
        outcomes = await asyncio.gather(*(_run(site, name, room) for site in sites))
        for site, cells in zip(sites, outcomes, strict=True):
            results[site.name][name] = cells
    return results


async def _run(site: Site, scenario: str, room: asyncio.Semaphore) -> list[Cell]:
    async with room:
        click.echo(f"{site.name}: {scenario}", err=True)
        return await SCENARIOS[scenario](site)


if __name__ == "__main__":
    main()
