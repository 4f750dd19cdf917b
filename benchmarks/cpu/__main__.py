"""What a warm page costs the process that makes it: CPU, SQL statements, and statements put together anew.

The app runs in this process, without a socket: a second, and not a minute, for each page and database. `speed` has the whole server.
"""

import asyncio
import gc
import gzip
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from cProfile import Profile
from dataclasses import dataclass
from pstats import Stats
from typing import Any

import click
import uvloop
from quart import Quart
from sqlalchemy import update
from sqlalchemy.ext.asyncio import create_async_engine

from app.core.config import load_settings
from app.core.migrate import upgrade
from app.factory import create_app
from app.models import User
from benchmarks.speed.filling import fill
from tests.counting import Counted, counting
from tests.servers import leash, redis
from tests.servers.postgresql import private_postgres
from tests.servers.process import held_directory, remove_directory

DATABASES = ("sqlite", "postgresql")
PEOPLE = 8
ROUNDS = 5
PLACE = b'{"page":"findings","deal_id":~,"listing":{"query":{"q":"lease"}},"ago_ms":0}'
# `~` is the deal. A GET, unless it says so.
PATHS = {
    "live": "/health/live",
    "current": "/api/deals/current",
    "select": "POST /api/deals/~/select?page=overview",
    "place": "PUT /api/place",
    "api-list": "/api/deals/list?limit=20",
    "list": "/deals",
    "list-25": "/deals?limit=25",
    "board": "/deals/board",
    "overview": "/deals/~/overview",
    "findings": "/deals/~/findings",
    "checklist": "/deals/~/checklist",
    "team": "/deals/~/team",
    "activity": "/deals/~/activity",
    "settings": "/settings",
    "people": "/admin/people",
}
SETTINGS = {
    "SECRET_KEY": "only-for-this-comparison" * 2,
    "LOG_LEVEL": "warning",
    "ENVIRONMENT": "development",
    **{f"RATE_LIMIT_{what}": "0" for what in ("SELECT", "LIST", "WRITE", "LOGIN", "EXPORT", "RUN")},
}


@dataclass(frozen=True)
class Site:
    """One app, and a person who is signed in: an administrator, in the first of the deals."""

    app: Quart
    cookie: str
    deal_id: int

    async def get(self, name: str) -> bytes:
        """One answer, as the server would be handed it."""
        method, _, address = PATHS[name].replace("~", str(self.deal_id)).rpartition(" ")
        path, _, query = address.partition("?")
        body = PLACE.replace(b"~", str(self.deal_id).encode()) if method == "PUT" else b""
        headers = {"host": "127.0.0.1", "cookie": self.cookie, "accept-encoding": "gzip"}
        if method:
            headers |= {"content-type": "application/json", "content-length": str(len(body))}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method or "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "extensions": {},
        }
        sent: list[dict[str, Any]] = []

        coming = [{"type": "http.request", "body": body, "more_body": False}] if body else []

        async def receive() -> dict[str, Any]:
            if coming:
                return coming.pop()
            await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)  # type: ignore[arg-type]
        if sent[0]["status"] not in (200, 204):
            raise click.ClickException(f"{path} was answered by {sent}")
        return b"".join(message.get("body", b"") for message in sent[1:])


@dataclass(frozen=True)
class Cost:
    cpu_ms: float
    counted: Counted
    bytes: int
    bytes_plain: int


async def measure(site: Site, name: str, requests: int) -> Cost:
    """Of the best round, since whatever else the machine does only adds to one."""
    for _ in range(max(requests // 5, 3)):
        body = await site.get(name)
    counted = Counted()
    with counting(site.app.extensions["holdfast"].database, counted):
        await site.get(name)
    rounds = []
    for _ in range(ROUNDS):
        gc.collect()
        began = time.process_time()
        for _ in range(requests):
            await site.get(name)
        rounds.append((time.process_time() - began) / requests * 1000)
    plain = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
    return Cost(min(rounds), counted, len(body), len(plain))


@asynccontextmanager
async def opened(url: str, redis_url: str) -> AsyncIterator[Site]:
    settings = load_settings(SETTINGS | {"DATABASE_URL": url, "REDIS_URL": redis_url})
    await asyncio.to_thread(upgrade, url)
    engine = create_async_engine(settings.database_url)
    async with engine.begin() as connection:
        found = await fill(connection, people=PEOPLE, spare_logins=0)
        await connection.execute(update(User).values(role="admin").where(User.email == found["emails"][0]))
    await engine.dispose()
    app = create_app(settings)
    auth = app.session_interface.auth  # type: ignore[attr-defined]
    cookie = f"{auth.cookie_name}={auth.dump_token(found['tokens'][0], app)}"
    async with app.test_app():
        yield Site(app, cookie, found["deals"][0][0])


@contextmanager
def databases(wanted: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Their addresses, empty."""
    directory = held_directory("cpu")
    try:
        urls = {"sqlite": f"sqlite+aiosqlite:///{directory / 'cpu.db'}"}
        if "postgresql" in wanted:
            with private_postgres() as server:
                yield urls | {"postgresql": server.create_database(migrated=False)}
        else:
            yield urls
    finally:
        remove_directory(directory)


def profiled(profile: Profile, database: str) -> None:
    click.echo(f"\n{database}, by own time:", err=True)
    Stats(profile).sort_stats("tottime").print_stats(45)
    Stats(profile).sort_stats("cumtime").print_stats(70)


async def _run(names: tuple[str, ...], wanted: tuple[str, ...], requests: int, *, alone: bool, profile: bool) -> dict[str, dict[str, Cost]]:
    results: dict[str, dict[str, Cost]] = {name: {} for name in names}
    server = None if alone else redis.start("valkey")
    try:
        with databases(wanted) as urls:
            for database in wanted:
                async with opened(urls[database], server.url if server else "") as site:
                    for name in names:
                        results[name][database] = await measure(site, name, requests)
                        if profile:
                            profiler = Profile()
                            profiler.enable()
                            for _ in range(requests):
                                await site.get(name)
                            profiler.disable()
                            profiled(profiler, database)
    finally:
        if server:
            server.remove()
    return results


def as_table(results: dict[str, dict[str, Cost]]) -> str:
    known = list(next(iter(results.values())))
    lines = [
        f"| | {' | '.join(f'{each}, CPU' for each in known)} | statements | parts built | compiled | KiB, gzipped |",
        f"|---|{'---|' * (len(known) + 4)}",
    ]
    for name, costs in results.items():
        cost = next(iter(costs.values()))
        figures = [f"{each.cpu_ms:.2f} ms" for each in costs.values()]
        counted = [str(len(each)) for each in (cost.counted.statements, cost.counted.built, cost.counted.compiled)]
        lines.append(f"| `{name}` | {' | '.join([*figures, *counted])} | {cost.bytes_plain / 1024:.1f}, {cost.bytes / 1024:.1f} |")
    return "\n".join(lines)


@click.command()
@click.argument("names", nargs=-1, metavar="[PAGE]...", type=click.Choice(list(PATHS)))
@click.option("--database", "wanted", multiple=True, type=click.Choice(DATABASES), help="This one only.")
@click.option("--requests", default=60, show_default=True, type=click.IntRange(1), help="In each of five rounds, of which the best counts.")
@click.option("--alone", is_flag=True, help="Without Redis.")
@click.option("--profile", is_flag=True, help="Print where each page spends its time, by function.")
@click.option("--statements", is_flag=True, help="Print the statements of each page.")
def main(*, names: tuple[str, ...], wanted: tuple[str, ...], requests: int, alone: bool, profile: bool, statements: bool) -> None:
    """Print what warm pages cost: all of them, or those named."""
    try:
        results = uvloop.run(_run(names or tuple(PATHS), wanted or DATABASES, requests, alone=alone, profile=profile))
    finally:
        leash.let_go()
    click.echo(as_table(results))
    if statements:
        for name, costs in results.items():
            cost = next(iter(costs.values()))
            click.echo(f"\n{name}: {dict(Counter(cost.counted.built))}")
            for each in cost.counted.statements:
                click.echo(each)


if __name__ == "__main__":
    main()
