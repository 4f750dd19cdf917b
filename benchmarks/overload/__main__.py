"""Asks one web process for more than it can serve, and says who is served, who is refused, and how long all of them wait."""

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice, repeat

import click
import uvloop

from benchmarks.speed.client import Busy, Connection, Sample, closed_loop, connect, once_each, request
from benchmarks.speed.machine import cores
from benchmarks.speed.measuring import sites_for
from benchmarks.speed.rows import DATABASES, ROWS
from benchmarks.speed.sites import THIS
from tests.servers import leash

CONNECTIONS = 16
HEALTH_EVERY_SECONDS = 0.05
KINDS = ("list", "page", "api-list", "warm")
HEAD = (
    "| asked for | capacity | asked | served, of capacity | served p50 / p99 / max | refused | refused p50 / p99 / max | health p99 / max |"
)


@dataclass
class Answers:
    """Seconds, from when each request was due."""

    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)


@click.command()
@click.option("--factor", default=3.0, show_default=True, type=click.FloatRange(0.1), help="How many times its capacity is asked for.")
@click.option("--seconds", default=8.0, show_default=True, type=click.FloatRange(1))
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), default=("list", "api-list"), show_default=True)
@click.option("--database", type=click.Choice(DATABASES), default="sqlite", show_default=True)
def main(*, factor: float, seconds: float, kinds: tuple[str, ...], database: str) -> None:
    """Measure overload: the goal is at least 80 % of capacity served, the rest refused within a second, health within 100 ms."""
    _, other_core = cores()
    os.sched_setaffinity(0, {other_core})
    click.echo(f"{HEAD}\n{'|---' * (HEAD.count('|') - 1)}|")
    try:
        for kind in kinds:
            click.echo(uvloop.run(_measure(kind, database, factor=factor, seconds=seconds)))
    finally:
        leash.let_go()


async def _measure(kind: str, database: str, *, factor: float, seconds: float) -> str:
    row = replace(ROWS[kind], subjects=(database,))
    async with sites_for([row], [THIS], spare_logins=0, with_peers=False) as sites:
        [site] = sites[database]
        await once_each(site.port, islice(site.requests("warm"), 200))
        requests = chain.from_iterable(repeat(list(islice(site.requests(row.kind), 2000))))
        sample: Sample = await closed_loop(site.port, requests, connections=CONNECTIONS, seconds=seconds / 2)
        capacity = len(sample.times) / sample.seconds
        answers = Answers()
        asking = asyncio.create_task(_ask_for_health(site.port, answers))
        took = await _ask_at_rate(site.port, requests, answers, rate=capacity * factor, seconds=seconds)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    share = len(answers.served) / took / capacity
    figures = (f"{capacity:.0f}/s", f"{capacity * factor:.0f}/s", f"{share:.0%}", _spread(answers.served))
    refused = (f"{len(answers.refused) / took:.0f}/s", _spread(answers.refused), " / ".join(_spread(answers.health).split(" / ")[1:]))
    return f"| {row.title}, {database} | {' | '.join((*figures, *refused))} |"


async def _ask_at_rate(port: int, requests: Iterator[bytes], answers: Answers, *, rate: float, seconds: float) -> float:
    """So many a second, whether or not the last ones are answered; the seconds until all are."""
    idle: list[Connection] = []
    began = time.perf_counter()

    async def ask(due: float) -> None:
        connection = idle.pop() if idle else await connect(port)
        await _note(connection, next(requests), answers.served, answers.refused, due)
        idle.append(connection)

    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(due - time.perf_counter())
            group.create_task(ask(due))
    for connection in idle:
        connection.transport.close()
    return time.perf_counter() - began


async def _ask_for_health(port: int, answers: Answers) -> None:
    connection = await connect(port)
    while True:
        await _note(connection, request("GET", "/health/live"), answers.health, answers.health, time.perf_counter())
        await asyncio.sleep(HEALTH_EVERY_SECONDS)


async def _note(connection: Connection, sent: bytes, served: list[float], refused: list[float], due: float) -> None:
    try:
        await connection.ask(sent)
    except Busy:
        refused.append(time.perf_counter() - due)
    else:
        served.append(time.perf_counter() - due)


def _spread(seconds: list[float]) -> str:
    if not seconds:
        return "–"
    ordered = sorted(seconds)
    return " / ".join(f"{1000 * ordered[min(len(ordered) - 1, int(len(ordered) * part))]:.0f}" for part in (0.5, 0.99, 1)) + " ms"


if __name__ == "__main__":
    main()
