"""Fills a database, runs the rows on it and on an empty one by turns, and writes RESULTS.md and results.json beside this file."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import click
import uvloop

from benchmarks.scale.filling import Amounts, fill
from benchmarks.speed.client import request
from benchmarks.speed.machine import cores, pinned
from benchmarks.speed.measured import Measured
from benchmarks.speed.measuring import DURABLE, measure, spare_logins_for
from benchmarks.speed.rows import Cells, Row
from benchmarks.speed.sites import PEOPLE, Holdfast, Site
from tests.servers import leash
from tests.servers.postgresql import PostgresServer, private_postgres

HERE = Path(__file__).parent
# Within a fifth of the empty database, by the CPU a request and by the median time of an answer.
GOAL = 1.2
EMPTY, LARGE = "empty", "large"
WORK = {
    "warm": "warm GET, session read from SQL",
    "select": "select, distinct people",
    "restore": "cold restore at 50/s",
    "list": "list page",
    "api-list": "`GET /api/deals/list?limit=20`",
    "search": "search",
    "switcher": "deals to switch to",
    "page": "deal page",
    "board": "board",
}


class Filled(Holdfast):
    """Without Redis and worker, so that every request goes to the database, and nothing else does."""

    PATHS = {**Holdfast.PATHS, "search": "/api/deals/list?q=tollbridge%201", "switcher": "/api/deals/recent"}

    def __init__(self, database: str, amounts: Amounts | None, *, spare_logins: int) -> None:
        super().__init__(database, with_redis=False, spare_logins=spare_logins)
        self.key, self.amounts = LARGE if amounts else EMPTY, amounts

    async def _fill(self) -> str:
        found = await super()._fill()
        if self.amounts:
            began = time.perf_counter()
            await fill(self.environ["DATABASE_URL"], self.amounts)
            click.echo(f"{self.database}: filled in {time.perf_counter() - began:.0f} s", err=True)
        return found

    def requests(self, kind: str) -> Iterator[bytes]:
        if kind in ("search", "switcher"):
            return (request("GET", self.PATHS[kind], cookie) for cookie in self.people["cookies"][:PEOPLE])
        return super().requests(kind)


def rows(wanted: tuple[str, ...]) -> list[Row]:
    """One request at a time: what is compared is what one costs."""
    return [
        Row(name, WORK[name], name, (EMPTY, LARGE), lambda _: iter(()), connections=1, rate=50 if name == "restore" else 0)
        for name in wanted or WORK
    ]


async def run(
    database: str, postgres: PostgresServer | None, amounts: Amounts, wanted: list[Row], rounds: int, seconds: float
) -> list[Any]:
    spare = spare_logins_for(wanted, rounds=rounds, seconds=seconds)
    sites = [Filled(database, None, spare_logins=spare), Filled(database, amounts, spare_logins=spare)]
    started: list[Site] = []
    found = []
    try:
        for site in sites:
            site.postgres = postgres
            await site.start()
            started.append(site)
        by_key: dict[str, list[Site]] = {site.key: [site] for site in sites}
        for row in wanted:
            found.append(as_result(database, row, await measure(row, by_key, rounds=rounds, seconds=seconds)))
            click.echo(line(found[-1]))
    finally:
        for each in started:
            each.stop()
    return found


def as_result(database: str, row: Row, cells: Cells) -> dict[str, Any]:
    empty, large = cells[EMPTY], cells[LARGE]
    pairs = zip(large.rounds, empty.rounds, strict=True)
    cpu = median(one.cpu_ms / max(other.cpu_ms, 0.001) for one, other in pairs)
    p50 = large.quantile(50) / empty.quantile(50)
    return {
        "database": database,
        "row": row.name,
        "empty": _figures(empty),
        "large": _figures(large),
        "cpu": round(cpu, 3),
        "p50": round(p50, 3),
        "met": max(cpu, p50) <= GOAL,
    }


def _figures(cell: Measured) -> dict[str, float]:
    figures = {"cpu_ms": cell.cpu_ms, "p50_ms": cell.quantile(50), "p99_ms": cell.quantile(99)}
    return {name: round(figure, 2) for name, figure in figures.items()}


HEAD = "| database | | CPU a request, empty → large | × | p50 | × | p99 | within a fifth |\n|---|---|---|---|---|---|---|---|"


def line(result: dict[str, Any]) -> str:
    pairs = [f"{result['empty'][name]:.2f} → {result['large'][name]:.2f} ms" for name in ("cpu_ms", "p50_ms", "p99_ms")]
    met = "yes" if result["met"] else "**no**"
    what = f"{WORK[result['row']]} (`{result['row']}`)"
    cells = (result["database"], what, pairs[0], f"{result['cpu']:.2f}", pairs[1], f"{result['p50']:.2f}", pairs[2], met)
    return f"| {' | '.join(cells)} |"


@click.command()
@click.argument("wanted", nargs=-1, metavar="[ROW]...", type=click.Choice(list(WORK)))
@click.option("--people", default=10_000, show_default=True)
@click.option("--deals", default=200_000, show_default=True)
@click.option("--events", default=1_000_000, show_default=True)
@click.option("--sessions", default=1_000_000, show_default=True, help="A tenth of them expired.")
@click.option("--database", "kinds", multiple=True, type=click.Choice(["sqlite", "postgresql"]), default=["sqlite", "postgresql"])
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=3.0, show_default=True, type=click.FloatRange(0.1))
def main(*, wanted: tuple[str, ...], kinds: tuple[str, ...], rounds: int, seconds: float, **sizes: int) -> None:
    """Compare a large database with an empty one. The results beside this file are written only by all rows on both, in full size."""
    amounts = Amounts(**sizes, expired=sizes["sessions"] // 10)
    _, other_core = cores()
    os.sched_setaffinity(0, {other_core})
    found: list[Any] = []
    try:
        for kind in kinds:
            with pinned(other_core), private_postgres(**DURABLE) if kind == "postgresql" else contextlib.nullcontext() as postgres:
                found += uvloop.run(run(kind, postgres, amounts, rows(wanted), rounds, seconds))
    finally:
        leash.let_go()
    table = "\n".join([HEAD, *(line(each) for each in found)])
    click.echo(table)
    if not wanted and len(kinds) == 2 and amounts == Amounts():
        said = ", ".join(f"{count:,} {name}".replace(",", " ") for name, count in asdict(amounts).items())
        (HERE / "RESULTS.md").write_text(f"# A large database beside an empty one\n\nMade by `make bench-scale`: {said}.\n\n{table}\n")
        (HERE / "results.json").write_text(json.dumps({"amounts": asdict(amounts), "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
