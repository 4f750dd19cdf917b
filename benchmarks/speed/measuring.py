"""Rounds: one site after the other, again and again, so that whatever else the machine does meets all of them."""

import gc
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain, islice

import click

from benchmarks.speed.client import Sample, closed_loop, once_each
from benchmarks.speed.machine import cores, pinned
from benchmarks.speed.measured import Measured, Round
from benchmarks.speed.rows import RATE, ROWS, Cells, Row
from benchmarks.speed.sites import PEOPLE, Checkout, Holdfast, Nothing, Site, peers
from tests.servers.postgresql import private_postgres

# As in production, unlike in the tests: what is committed is on the disk.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "autovacuum": "on", "shared_buffers": "256MB"}
WARM_UP_SECONDS = 0.5
# Results by row, then by subject: a site's key, with "@label" where it is of another commit.
Results = dict[str, Cells]


def name_of(site: Site) -> str:
    """What a result is filed under."""
    label = site.checkout.label if isinstance(site, Holdfast) else ""
    return f"{site.key}@{label}" if label else site.key


@asynccontextmanager
async def sites_for(
    rows: Sequence[Row], checkouts: Sequence[Checkout], *, spare_logins: int, with_peers: bool
) -> AsyncIterator[dict[str, list[Site]]]:
    """The sites that the rows ask for, by key, running. Without peers there is still bare Quart, the yardstick."""
    wanted = set(chain.from_iterable(row.subjects for row in rows))
    chosen: list[Site] = [peer for peer in peers() if peer.key in wanted and (with_peers or peer.key == "bare")]
    for checkout in checkouts:
        every = [
            Holdfast(database, with_redis=with_redis, processes=processes, checkout=checkout, spare_logins=spare_logins)
            for database in ("sqlite", "postgresql")
            for with_redis, processes in ((True, 1), (False, 1), (True, 2))
        ]
        chosen += [site for site in every if site.key in wanted]
    ours = [site for site in chosen if isinstance(site, Holdfast) and site.database == "postgresql"]
    _, other_core = cores()
    with pinned(other_core):
        server = private_postgres(**DURABLE) if ours else None
        postgres = server.__enter__() if server else None
    started: list[Site] = []
    try:
        for site in chosen:
            click.echo(f"Starting {name_of(site)}", err=True)
            if isinstance(site, Holdfast):
                site.postgres = postgres
            await site.start()
            started.append(site)
        yield {key: [site for site in chosen if site.key == key] for key in wanted}
    finally:
        for site in started:
            site.stop()
        if server:
            server.__exit__(None, None, None)


async def measure(row: Row, sites: dict[str, list[Site]], *, rounds: int, seconds: float) -> Cells:
    """Every other round the other way round."""
    subjects = [site for key in row.subjects for site in sites[key]]
    cells = {name_of(site): Measured() for site in subjects}
    for site in subjects:
        await _warm_up(row, site, min(seconds, WARM_UP_SECONDS))
    for number in range(rounds):
        for site in subjects if number % 2 == 0 else reversed(subjects):
            await _measure_one(row, site, cells[name_of(site)], seconds)
    return cells


async def _warm_up(row: Row, site: Site, seconds: float) -> None:
    if row.kind == "restore":
        await once_each(site.port, islice(site.requests("restore"), 8))
        return
    if row.kind not in ("nothing", "sign-in"):
        await once_each(site.port, site.requests("warm"))
    await closed_loop(site.port, site.requests(row.kind), connections=row.connections, seconds=seconds)


async def _measure_one(row: Row, site: Site, cell: Measured, seconds: float) -> None:
    requests = site.requests(row.kind)
    if row.kind != "restore":
        requests = _again_and_again(list(requests))
    gc.collect()
    gc.disable()
    cpu, own = site.cpu_seconds(), time.process_time()
    sample = await row.load(site.port, requests, seconds)
    cpu, own = site.cpu_seconds() - cpu, time.process_time() - own
    gc.enable()
    count = max(len(sample.times), 1)
    cell.rounds.append(Round(count, round(sample.seconds, 3), round(1000 * cpu / count, 4), round(own / sample.seconds, 3), sample.refused))
    cell.times += sample.times
    cell.bytes = sample.bytes / count


def _again_and_again(requests: list[bytes]) -> "chain[bytes]":
    return chain.from_iterable(iter(lambda: requests, None))


async def ceiling(seconds: float) -> float:
    """Requests a second that the load generator makes of a server that does nothing."""
    site = Nothing()
    await site.start()
    try:
        sample: Sample = await closed_loop(site.port, site.requests("warm"), connections=ROWS["warm"].connections, seconds=seconds)
        return len(sample.times) / sample.seconds
    finally:
        site.stop()


def spare_logins_for(rows: Sequence[Row], *, rounds: int, seconds: float) -> int:
    """Each is signed in and without a session once only."""
    return int(RATE * seconds * rounds) + 2 * PEOPLE if any(row.kind == "restore" for row in rows) else 0
