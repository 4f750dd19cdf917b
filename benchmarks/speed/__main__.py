"""Runs the rows, prints the table, and writes RESULTS.md, results.json and speed.svg beside this file when it ran all of them."""

import contextlib
import os
from pathlib import Path

import click
import uvloop

from benchmarks.speed.against import checked_out, this_commit
from benchmarks.speed.chart import as_svg
from benchmarks.speed.machine import cores
from benchmarks.speed.measuring import Results, ceiling, measure, sites_for, spare_logins_for
from benchmarks.speed.report import Run, as_comparison, as_json, as_page, as_table, busiest
from benchmarks.speed.rows import DATABASES, ROWS, Row
from benchmarks.speed.sites import HERE, THIS, Checkout
from tests.servers import leash
from tests.servers.web import ROOT

# More of its core, and it is the load generator that is measured.
TOO_BUSY = 0.7


@click.command()
@click.argument("wanted", nargs=-1, metavar="[ROW]...", type=click.Choice([*ROWS, "all"]))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(0.1), help="How long each site has in each round.")
@click.option(
    "--against", metavar="GITREF", help="Run the rows of another commit of Holdfast, too, round by round; of the peers bare Quart only."
)
@click.option("--database", "databases", multiple=True, type=click.Choice(DATABASES), help="Holdfast on this one only.")
@click.option("--ours", is_flag=True, help="No peers but bare Quart.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures to this file, too.")
def main(
    *,
    wanted: tuple[str, ...],
    rounds: int,
    seconds: float,
    against: str | None,
    databases: tuple[str, ...],
    ours: bool,
    json_file: Path | None,
) -> None:
    """Measure Holdfast and its peers: all rows, or those named. The results beside this file are written only by all, of all."""
    names = wanted if wanted and "all" not in wanted else tuple(ROWS)
    rows = [ROWS[name].on(databases or DATABASES) for name in dict.fromkeys(names)]
    _, other_core = cores()
    os.sched_setaffinity(0, {other_core})
    try:
        with contextlib.ExitStack() as stack:
            other = stack.enter_context(checked_out(against)) if against else None
            run, results = uvloop.run(_run(rows, other, rounds=rounds, seconds=seconds, with_peers=not ours))
    finally:
        leash.let_go()
    click.echo(as_table(results))
    if other:
        click.echo(f"\n{as_comparison(results, other.label)}")
    _say_how_busy(run, results)
    if json_file:
        json_file.write_text(as_json(results, run))
    if len(rows) == len(ROWS) and not (other or ours or databases):
        (HERE / "RESULTS.md").write_text(as_page(results, run))
        (HERE / "results.json").write_text(as_json(results, run))
        (HERE / "speed.svg").write_text(as_svg(results))
        click.echo(f"\nWritten to {(HERE / 'RESULTS.md').relative_to(ROOT)}.")


async def _run(rows: list[Row], other: Checkout | None, *, rounds: int, seconds: float, with_peers: bool) -> tuple[Run, Results]:
    checkouts = [THIS, *([other] if other else [])]
    run = Run(rounds, seconds, await ceiling(min(seconds, 2)), this_commit(), other.label if other else "")
    results: Results = {}
    spare = spare_logins_for(rows, rounds=rounds, seconds=seconds)
    async with sites_for(rows, checkouts, spare_logins=spare, with_peers=with_peers and other is None) as sites:
        for row in rows:
            click.echo(f"Measuring {row.name}: {row.title}", err=True)
            results[row.name] = await measure(row, sites, rounds=rounds, seconds=seconds)
    return run, results


def _say_how_busy(run: Run, results: Results) -> None:
    most = busiest(results)
    click.echo(
        f"\nThe load generator makes {run.ceiling:.0f} requests/s of a server that only answers, and used at most {most:.0%} of its core."
    )
    if most > TOO_BUSY:
        click.echo("That is too much of it: what it measured is itself.", err=True)


if __name__ == "__main__":
    main()
