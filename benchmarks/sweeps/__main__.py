"""How long the sweeps hold a database, and what somebody who works meanwhile notices of them."""

import asyncio
import json
import statistics
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from app.core.migrate import upgrade
from benchmarks.sweeps.filling import Amounts, fill
from benchmarks.sweeps.person import Person, Times, at_work
from benchmarks.sweeps.sweep import SWEEPS
from tests.servers import leash
from tests.servers.postgresql import private_postgres
from tests.servers.process import held_directory, remove_directory

HERE = Path(__file__).parent
BEFORE_SECONDS = 15
# As in production, unlike in the tests: what is committed is on the disk.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "autovacuum": "on", "shared_buffers": "256MB"}


@contextmanager
def new_database(kind: str) -> Iterator[str]:
    if kind == "sqlite":
        directory = held_directory("sweeps")
        try:
            yield f"sqlite+aiosqlite:///{directory / 'sweeps.db'}"
        finally:
            remove_directory(directory)
    else:
        with private_postgres(**DURABLE) as server:
            yield server.create_database(migrated=False)


async def work_for(person: Person, seconds: float) -> Times:
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    return await person.work(over)


async def sweep_beside(person: Person, name: str, url: str) -> tuple[dict[str, Any], Times]:
    over = asyncio.Event()
    working = asyncio.create_task(person.work(over))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "benchmarks.sweeps.sweep", name, url, stdout=PIPE)
    output, _ = await process.communicate()
    over.set()
    return json.loads(output), await working


async def measure(kind: str, url: str, amounts: Amounts) -> list[dict[str, Any]]:
    began = time.perf_counter()
    await fill(url, amounts)
    click.echo(f"{kind}: filled in {time.perf_counter() - began:.0f} s")
    rows = []
    async with at_work(url) as person:
        await work_for(person, 2)
        for name in SWEEPS:
            before = await work_for(person, BEFORE_SECONDS)
            did, during = await sweep_beside(person, name, url)
            rows.append(as_row(kind, name, did, before, during))
            click.echo(line(rows[-1]))
    return rows


def as_row(kind: str, name: str, did: dict[str, Any], before: Times, during: Times) -> dict[str, Any]:
    batches = [1000 * seconds for seconds in did["batches"]]
    row = {"database": kind, "sweep": name, "did": did["did"], "seconds": round(did["seconds"], 1), "batches": len(batches)}
    row["batch_ms"], row["one_row_ms"] = quantiles(batches), quantiles([1000 * seconds for seconds in did["alone"]])
    for what, times in (("before", before), ("during", during)):
        row[what] = {each: quantiles([1000 * seconds for seconds in getattr(times, each)]) for each in ("reads", "selects")}
    return row


def quantiles(times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1), "max": round(max(times), 1), "count": len(times)}


HEAD = (
    "| database | sweep | rows | took | transactions | each p50 / p99 / max | one row p50 / p99 / max "
    "| read p99 before → during | select p99 before → during |\n|---|---|---|---|---|---|---|---|---|"
)


def line(row: dict[str, Any]) -> str:
    before, during = row["before"], row["during"]
    did = ", ".join(f"{count:,} {name}".replace(",", " ") for name, count in row["did"].items() if count)
    cells = (
        row["database"],
        f"`{row['sweep']}`",
        did,
        f"{row['seconds']:.0f} s",
        row["batches"],
        *(f"{each['p50']:.0f} / {each['p99']:.0f} / {each['max']:.0f} ms" for each in (row["batch_ms"], row["one_row_ms"])),
        f"{before['reads']['p99']:.0f} → {during['reads']['p99']:.0f} ms",
        f"{before['selects']['p99']:.0f} → {during['selects']['p99']:.0f} ms",
    )
    return f"| {' | '.join(map(str, cells))} |"


@click.command()
@click.option("--sessions", default=1_000_000, show_default=True, help="A tenth of them expired; a hundredth as many stale people.")
@click.option("--database", "kinds", multiple=True, type=click.Choice(["sqlite", "postgresql"]), default=["sqlite", "postgresql"])
def main(sessions: int, kinds: tuple[str, ...]) -> None:
    """Fill a database, sweep it, and write the table to RESULTS.md beside this file."""
    amounts = Amounts(sessions, sessions // 10, sessions // 50, sessions // 100)
    rows: list[dict[str, Any]] = []
    try:
        for kind in kinds:
            with new_database(kind) as url:
                upgrade(url)
                rows += asyncio.run(measure(kind, url, amounts))
    finally:
        leash.let_go()
    table = "\n".join([HEAD, *(line(row) for row in rows)])
    click.echo(table)
    (HERE / "results.json").write_text(json.dumps({"sessions": sessions, "rows": rows}, indent=2) + "\n")
    (HERE / "RESULTS.md").write_text(f"# Sweeps on {sessions:,} sessions\n\nMade by `make bench-sweeps`.\n\n{table}\n")


if __name__ == "__main__":
    main()
