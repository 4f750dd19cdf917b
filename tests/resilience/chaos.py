"""Random faults under a random load on a real site, everything recorded, and the record checked against what is promised.

    python -m tests.resilience.chaos [--seconds 180] [--database sqlite|postgresql|both] [--seed N] [--history FILE]

Two web processes and a worker; people with several browsers each, who read on any server, select, clear, sign in and out, while
an owner gives and takes access. One fault at a time. Ends with 1 where a promise was broken. The same seed makes the same
choices; what the machine makes of them differs.
"""

import argparse
import asyncio
import random
import signal
import sqlite3
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import asyncpg
import httpx
from sqlalchemy import make_url

from app.core.database import Database
from app.core.migrate import upgrade
from app.models import User
from tests.factories import PASSWORD, make_deal, make_member, make_organisation, make_user
from tests.model.conformance import Verdict
from tests.model.conformance import check as follow
from tests.model.rare import count_rare
from tests.model.recorder import read_steps
from tests.model.told import Traces
from tests.resilience.history import Fault, History, Kind, Operation, check
from tests.resilience.register import check_registers, write_jsonl
from tests.resilience.site import Site, WorkerProcess
from tests.servers import redis
from tests.servers.blocking import blocking
from tests.servers.postgresql import PostgresServer, private_postgres
from tests.servers.process import held_directory, remove_directory, wait_until

DATABASES = ("sqlite", "postgresql")
PEOPLE, BROWSERS = 4, 2
# Deals that stay, deals to which access is given and taken, deals that are deleted in the course of the run.
STEADY, CONTESTED, DOOMED = 2, 5, 6
# Longer than a request may take, so that a slow one is seen to be slow rather than given up.
TIMEOUT = 8.0
# In a request that does nothing; then the bounds on time are not checked.
OVERLOADED = 0.3
# In which what is rare happens, too.
LONG_SECONDS = 300
READS: tuple[Kind, ...] = ("current", "me", "health")


@dataclass
class Stage:
    """The site, what can be broken, and the record."""

    site: Site
    postgres: PostgresServer | None
    dice: random.Random
    over_at: float = 0.0
    history: History = field(default_factory=History)
    # Servers that a load balancer would have taken out by now.
    away: set[int] = field(default_factory=set)
    other_worker: WorkerProcess | None = None

    def any_server(self) -> int:
        return self.dice.choice([server for server in range(len(self.site.webs)) if server not in self.away])

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self.over_at


@dataclass
class Guest:
    """One person's browser. Each login has a name of its own in the record."""

    stage: Stage
    user: User
    name: str
    http: httpx.AsyncClient
    logins: int = 0

    @property
    def login(self) -> str:
        return f"{self.name}.{self.logins}"

    async def ask(self, kind: Kind, method: str, path: str, *, http: httpx.AsyncClient | None = None, **about: Any) -> Operation:
        """One request to any server, recorded under the login it began with."""
        server, login, json = self.stage.any_server(), self.login, about.pop("json", None)
        status, answer, outcome = 0, None, "unknown"
        start = time.monotonic()
        try:
            response = await (http or self.http).request(method, self.stage.site.webs[server].url + path, json=json)
            status, answer = response.status_code, response.json() if response.content else None
        except httpx.ConnectError:
            outcome = "failed"  # it never left
        except httpx.TransportError:
            pass
        end = time.monotonic()
        if status:
            outcome = "ok" if status < 300 else "failed" if status < 500 else "unknown"
        if outcome == "unknown" and kind in READS:
            outcome = "failed"
        seen = _seen(kind, answer) if outcome == "ok" else {}
        operation = Operation(kind, start, end, login, self.user.id, outcome, server, status, **about, **seen)  # type: ignore[arg-type]
        self.stage.history.operations.append(operation)
        return operation

    async def sign_in(self) -> None:
        """Until it succeeds. A login nobody got the cookie of is nobody's."""
        while not self.stage.is_over:
            self.logins += 1
            self.http.cookies.clear()
            credentials = {"email": self.user.email, "password": PASSWORD}
            if (await self.ask("login", "POST", "/api/auth/login", json=credentials)).outcome == "ok":
                return
            await asyncio.sleep(0.2)

    async def sign_out(self) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT, cookies=httpx.Cookies(self.http.cookies)) as copy:
            await self.ask("logout", "POST", "/api/auth/logout")
            # Somebody copied the cookies before.
            for _ in range(3):
                await self.ask("current", "GET", "/api/deals/current", http=copy)

    async def read(self, times: int = 1) -> None:
        await asyncio.gather(*(self.ask("current", "GET", "/api/deals/current") for _ in range(times)))

    async def visit(self, deals: list[int]) -> None:
        """Use the site until the run is over."""
        dice = self.stage.dice
        await self.sign_in()
        while not self.stage.is_over:
            turn = dice.random()
            if turn < 0.70:
                await self.read(dice.randint(1, 3))
            elif turn < 0.88:
                deal = dice.choice(deals)
                await self.ask("select", "POST", f"/api/deals/{deal}/select", deal=deal)
            elif turn < 0.91:
                await self.ask("clear", "DELETE", "/api/deals/current")
            elif turn < 0.97:
                await self.ask("me", "GET", "/api/me")
            else:
                await self.sign_out()
                await self.sign_in()
            await asyncio.sleep(dice.random() * 0.1)

    async def manage(self, contested: list[int], doomed: list[int], people: list[User]) -> None:
        """The owner: gives and takes access, and now and then deletes a deal."""
        dice = self.stage.dice
        await self.sign_in()
        while not self.stage.is_over:
            deal, person = dice.choice(contested), dice.choice(people)
            if doomed and dice.random() < 0.01:
                gone = doomed.pop()
                await self.ask("delete", "DELETE", f"/api/deals/{gone}", deal=gone)
            elif dice.random() < 0.5:
                await self.ask("revoke", "DELETE", f"/api/deals/{deal}/members/{person.id}", deal=deal, target=person.id)
            else:
                grant = {"user_id": person.id, "role": "viewer"}
                await self.ask("grant", "POST", f"/api/deals/{deal}/members", deal=deal, target=person.id, json=grant)
            await asyncio.sleep(dice.random() * 0.2)

    async def watch(self) -> None:
        """Health, which must tell the truth; and what needs neither Redis nor SQL, whose slowness is the machine's."""
        while not self.stage.is_over:
            await self.ask("health", "GET", "/api/health/session")
            live, start = self.stage.site.webs[self.stage.any_server()].url + "/health/live", time.monotonic()
            with suppress(httpx.TransportError):
                await self.http.get(live)
                if time.monotonic() - start > OVERLOADED:
                    self.stage.history.faults.append(Fault("machine", start, time.monotonic(), "machine_overloaded"))
            await asyncio.sleep(0.25)


def _seen(kind: Kind, answer: Any) -> dict[str, Any]:
    if kind == "current":
        return {"value": answer["deal"] and answer["deal"]["id"]}
    if kind == "login":
        return {"value": answer["current_deal"] and answer["current_deal"]["id"], "shown_user": answer["user"]["id"]}
    if kind == "me":
        return {"shown_user": answer["user"]["id"]}
    return {"redis_serves": answer["backend"] == "redis"} if kind == "health" else {}


# Faults


Break = Callable[[Stage, float], Awaitable[None]]


async def _redis_killed(stage: Stage, lasts: float) -> None:
    stage.site.redis.kill()
    await asyncio.sleep(lasts)
    await asyncio.to_thread(stage.site.redis.restart)


async def _redis_restarted(stage: Stage, lasts: float) -> None:
    await asyncio.to_thread(stage.site.redis.restart)


async def _redis_hung(stage: Stage, lasts: float) -> None:
    stage.site.redis.stop()
    await asyncio.sleep(lasts)
    stage.site.redis.cont()


async def _redis_emptied(stage: Stage, lasts: float) -> None:
    await asyncio.to_thread(stage.site.redis.say, "FLUSHALL")


async def _redis_back_with_old_data(stage: Stage, lasts: float) -> None:
    """It loads what it was at the SAVE, as after every later restart of this run."""
    await asyncio.to_thread(stage.site.redis.say, "SAVE")
    await asyncio.sleep(lasts)
    stage.site.redis.kill()
    await asyncio.to_thread(stage.site.redis.restart)


async def _web_killed(stage: Stage, lasts: float) -> None:
    server = stage.any_server()
    web = stage.site.webs[server]
    web.kill()
    stage.away.add(server)
    await asyncio.sleep(lasts)
    await asyncio.to_thread(web.start)
    await web.wait_until_ready()
    stage.away.clear()


async def _one_web_cut_off(stage: Stage, lasts: float) -> None:
    proxy = stage.site.proxies[stage.dice.randrange(len(stage.site.webs))]
    await asyncio.to_thread(proxy.refuse)
    await asyncio.sleep(lasts)
    await asyncio.to_thread(proxy.accept)


async def _workers_stopped(stage: Stage, lasts: float) -> None:
    """Redis goes meanwhile and comes back, and both think of the next epoch at the same moment."""
    workers = [worker for worker in (stage.site.worker, stage.other_worker) if worker]
    for worker in workers:
        worker.stop()
    await asyncio.to_thread(stage.site.redis.restart)
    await asyncio.sleep(lasts)
    for worker in workers:
        worker.cont()


async def _postgres_crashed(stage: Stage, lasts: float) -> None:
    assert stage.postgres
    assert stage.postgres.process
    await asyncio.to_thread(stage.postgres.process.terminate, signal.SIGQUIT)
    await asyncio.sleep(lasts)
    await asyncio.to_thread(stage.postgres.process.restart)
    await asyncio.to_thread(wait_until, lambda: _answers(stage.postgres), within=20, what="PostgreSQL")


async def _postgres_hung(stage: Stage, lasts: float) -> None:
    assert stage.postgres
    assert stage.postgres.process
    stage.postgres.process.stop()
    await asyncio.sleep(lasts)
    stage.postgres.process.cont()


async def _sqlite_locked(stage: Stage, lasts: float) -> None:
    with closing(sqlite3.connect(make_url(stage.site.database_url).database or "", isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(lasts)


def _answers(postgres: PostgresServer | None) -> bool:
    try:
        if postgres:
            postgres.execute("SELECT 1")
    except (OSError, asyncpg.PostgresError):
        return False
    return True


What = Literal["redis", "web", "sql"]
EVERYWHERE: list[tuple[What, Break]] = [
    ("redis", _redis_killed),
    ("redis", _redis_hung),
    ("redis", _redis_emptied),
    ("redis", _redis_restarted),
    ("redis", _redis_back_with_old_data),
    ("redis", _one_web_cut_off),
    ("redis", _workers_stopped),
    ("web", _web_killed),
]
OF_DATABASE: dict[str, list[tuple[What, Break]]] = {
    "sqlite": [("sql", _sqlite_locked)],
    "postgresql": [("sql", _postgres_crashed), ("sql", _postgres_hung)],
}


async def _break_things(stage: Stage) -> None:
    """One fault after the other, each kind before any of them again, with a pause to recover or not quite."""
    faults: list[tuple[What, Break]] = []
    while not stage.is_over:
        await asyncio.sleep(stage.dice.uniform(0.5, 3))
        if not faults:
            faults = EVERYWHERE + OF_DATABASE["postgresql" if stage.postgres else "sqlite"]
            stage.dice.shuffle(faults)
        what, fault = faults.pop()
        # Now and then long enough for health to have to say it.
        is_long = fault in (_redis_killed, _redis_hung) and stage.over_at - time.monotonic() > 30 and stage.dice.random() < 0.4
        start = time.monotonic()
        await fault(stage, 13 if is_long else stage.dice.uniform(0.1, 3))
        stage.history.faults.append(Fault(what, start, time.monotonic(), fault.__name__.strip("_")))


# The run


@dataclass(frozen=True)
class Report:
    seed: int
    database: str
    history: History
    violations: list[str]
    strays: list[Verdict]
    steps: int
    rare: dict[str, int]

    @property
    def unseen(self) -> list[str]:
        """What a run of some minutes has to have met."""
        return [what for what, count in self.rare.items() if not count]

    def __str__(self) -> str:
        operations = self.history.operations
        took = sorted(op.end - op.start for op in operations)
        cuts = statistics.quantiles(took, n=100)
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(op.kind for op in operations).most_common())
        faults = ", ".join(f"{count} {name}" for name, count in sorted(Counter(fault.name for fault in self.history.faults).items()))
        errors = Counter(op.status for op in operations if (op.status >= 500 or op.status == 0) and op.kind != "health")
        unexcused = sum(each.startswith("I8") for each in self.violations)
        lines = [
            f"Chaos on {self.database}, SEED={self.seed}",
            f"  operations  {len(operations)}: {kinds}",
            f"  faults      {len(self.history.faults)}: {faults}",
            f"  5xx         {sum(errors.values()) - errors[0]}, cut off {errors[0]}; {unexcused} of both while SQL and web served",
            f"  took        p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms, longest {took[-1]:.2f} s",
            f"  steps       {self.steps}, {len(self.strays)} logins did what the model cannot",
            f"  rare        {', '.join(f'{count} x {what}' for what, count in self.rare.items())}",
            f"  violations  {len(self.violations)}",
        ]
        lines += [f"    {stray}" for stray in self.strays[:20]]
        if self.violations:
            lines += [f"    {each}" for each in self.violations[:20]]
            lines += [f"    [{fault.start:.3f}-{fault.end:.3f}] {fault.name}" for fault in self.history.faults]
        return "\n".join(lines)


async def _play(stage: Stage, seconds: float) -> None:
    async with AsyncExitStack() as stack:
        database = Database(stage.site.database_url, name="holdfast-test")
        organisation = await make_organisation(database)
        owner, *people = [await make_user(database, organisation) for _ in range(1 + PEOPLE)]
        rows = [await make_deal(database, organisation, owner=owner) for _ in range(STEADY + CONTESTED + DOOMED)]
        for row in rows:
            for person in people:
                await make_member(database, row, person)
        await database.close()
        deals = [row.id for row in rows]
        stage.history.deals = {person.id: frozenset(deals) for person in (owner, *people)}

        async def guest(user: User, name: str) -> Guest:
            limits = httpx.Limits(max_keepalive_connections=4)
            return Guest(
                stage, user, name, await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=TIMEOUT, limits=limits))
            )

        stage.over_at = time.monotonic() + seconds
        visits = [(await guest(person, f"{person.id}{'abc'[n]}")).visit(deals) for person in people for n in range(BROWSERS)]
        contested, doomed = deals[STEADY : STEADY + CONTESTED], deals[STEADY + CONTESTED :]
        managing = (await guest(owner, "owner")).manage(contested, doomed, people)
        await asyncio.gather(*visits, managing, (await guest(owner, "watch")).watch(), _break_things(stage))


def run(database: str, *, seconds: float, seed: int, lenience: float = 1) -> Report:
    """`lenience` multiplies the bounds on time, where the machine does other things as well."""
    with _database(database) as (url, postgres):
        store = redis.start("valkey")
        site = Site(url, store, recorded=True)
        other = WorkerProcess(site.environ(site.proxies[-1]))
        try:
            other.start()
            site.start()
            stage = Stage(site, postgres, random.Random(seed), other_worker=other)
            stage.history.stale_seconds *= lenience
            stage.history.longest_seconds *= lenience
            stage.history.health_seconds *= lenience
            blocking(_play, stage, seconds)
        finally:
            other.remove()
            site.end()
            store.remove()
        lines = list(read_steps(site.steps))
        verdicts = list(follow(Traces.of(lines, lossy=True)))
        site.keep_strays([verdict for verdict in verdicts if verdict.stuck_at])
    strays, steps = [verdict for verdict in verdicts if verdict.stuck_at], sum(verdict.actions for verdict in verdicts)
    return Report(seed, database, stage.history, check(stage.history), strays, steps, count_rare(lines))


@contextmanager
def _database(kind: str) -> Iterator[tuple[str, PostgresServer | None]]:
    if kind == "postgresql":
        with private_postgres() as server:
            server.prepare()
            url = server.create_database()
            # What was acknowledged is to survive a crash of the server; the other tests do not crash theirs.
            server.execute(f"ALTER DATABASE {make_url(url).database} SET synchronous_commit = on")
            yield url, server
        return
    directory = held_directory("chaos")
    url = f"sqlite+aiosqlite:///{directory / 'chaos.db'}"
    blocking(upgrade, url)
    yield url, None
    remove_directory(directory)


def main() -> int:
    parser = argparse.ArgumentParser(description="Random faults under load, and a check of everything the clients saw.")
    parser.add_argument("--seconds", type=float, default=180, help="for all databases together")
    parser.add_argument("--database", choices=[*DATABASES, "both"], default="both")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument(
        "--history", metavar="FILE", help="where to write what the clients saw, as JSON lines; the database's name is put behind it"
    )
    arguments = parser.parse_args()
    databases = DATABASES if arguments.database == "both" else (arguments.database,)
    is_broken = False
    for database in databases:
        report = run(database, seconds=arguments.seconds / len(databases), seed=arguments.seed)
        impossible = check_registers(report.history)
        is_broken |= bool(report.violations or report.strays or impossible)
        if arguments.history:
            with open(f"{arguments.history}.{database}.jsonl", "w") as file:
                write_jsonl(report.history, file)
        sys.stdout.write("\n".join([str(report), f"  registers   {len(impossible)} that no order explains", *impossible, ""]))
        if arguments.seconds / len(databases) >= LONG_SECONDS and report.unseen:
            is_broken = True
            sys.stdout.write(f"  NEVER MET   {', '.join(report.unseen)}\n")
        sys.stdout.flush()
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
