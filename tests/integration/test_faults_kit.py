"""The conformance kit finds each flaw by the scenario that is about it, passes what is sound, and says all it needs in its help."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.faults.holdfast_faults.cells import Cell, Verdict, worst
from benchmarks.faults.holdfast_faults.cli import cli
from benchmarks.faults.holdfast_faults.layer import MANIFEST, load_layers
from benchmarks.faults.holdfast_faults.report import as_json, as_page, merged, read_findings
from benchmarks.faults.holdfast_faults.runner import Findings
from benchmarks.faults.holdfast_faults.scenarios import SCENARIOS, Pace
from tests.integration.session_layers import MemoryLayer
from tests.servers.web import ROOT

KIT = ROOT / "benchmarks" / "faults"
ROUTES = ("POST /login/USER", "POST /logout", "POST /set/KEY/VALUE", "GET /get/KEY", "POST /revoke-all", "GET /whoami")
SWIFT = Pace(trials=8, poll_seconds=0.001, look_on_seconds=0.01, return_limit_seconds=5, pause_seconds=0.02, late_seconds=0.001)
# Which flaw each scenario finds, how bad it says that it is, and by which of the things that it looks at.
AFTERWARDS = {"the value afterwards", "the logged-out session afterwards"}
FLAWS = {
    "logout-replay": ("has no server side", Verdict.UNSAFE, {"the cookie from before", "a write with it"}),
    "login-fixation": ("keeps the identifier", Verdict.UNSAFE, {"the cookie from before the login"}),
    "revoke-all": ("revokes one", Verdict.UNSAFE, {"every session of the person"}),
    "two-writers": ("saves whole sessions", Verdict.LOST, {"both keys kept"}),
    "two-servers": ("believes its memory", Verdict.UNSAFE, {"write at one, read at the other", "logout at one, replay at the other"}),
    "servers-killed": ("acknowledges too soon", Verdict.LOST, {"the value", "the new login"}),
    "server-paused": ("believes its memory", Verdict.UNSAFE, {"the value", "the session logged out meanwhile"}),
    "redis-killed": ("believes Redis", Verdict.UNSAFE, AFTERWARDS),
    "redis-hung": ("believes Redis", Verdict.UNSAFE, AFTERWARDS),
    "redis-full": ("believes Redis", Verdict.UNSAFE, {"write", "the value afterwards"}),
    "revoke-while-away": ("believes Redis", Verdict.UNSAFE, {"the revoked sessions afterwards"}),
    "one-cut-off": ("believes Redis", Verdict.UNSAFE, {"write at the cut-off one, read at the other"}),
    "logout-in-flight": ("saves whole sessions", Verdict.UNSAFE, {"a write under way at the other server"}),
    "redis-flushed": ("saves whole sessions", Verdict.LOST, {"the acknowledged value"}),
    "redis-evicted": ("saves whole sessions", Verdict.LOST, {"the acknowledged value"}),
    "old-snapshot": ("believes Redis", Verdict.UNSAFE, {"the value written since", "the session logged out since"}),
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_passes_what_is_sound_and_finds_the_flaw_it_is_about(name: str) -> None:
    sound = await SCENARIOS[name].play(MemoryLayer("").site(), SWIFT)
    assert worst(sound) is Verdict.OK, sound
    flaw, verdict, headings = FLAWS[name]
    flawed = await SCENARIOS[name].play(MemoryLayer(flaw).site(), SWIFT)
    assert worst(flawed) is verdict, flawed
    assert {cell.heading for cell in flawed if cell.verdict is verdict} == headings


@pytest.mark.parametrize("name", ["redis-killed", "redis-hung", "redis-full", "one-cut-off"])
async def test_an_error_that_is_said_is_called_down_and_nothing_worse(name: str) -> None:
    cells = await SCENARIOS[name].play(MemoryLayer("saves whole sessions").site(), SWIFT)
    assert worst(cells) is Verdict.DOWN, cells
    assert {cell.outcome for cell in cells if cell.heading.endswith("afterwards")} <= {
        "as told: refused",
        "as told: alive",
        "dead",
        "the new one",
    }


async def test_a_history_pairs_every_request_with_its_end(tmp_path: Path) -> None:
    site = MemoryLayer("saves whole sessions").site()
    await SCENARIOS["redis-killed"].play(site, SWIFT)
    await site.redis.kill()
    refused = site.visitor()
    assert [(await refused.login("reader")).status for _ in range(2)] == [500, 500]
    site.history.write(tmp_path / "layer" / "redis-killed.jsonl")
    entries = [json.loads(line) for line in (tmp_path / "layer" / "redis-killed.jsonl").read_text().splitlines()]
    assert all({"process", "type", "f", "key", "value", "time"} <= entry.keys() for entry in entries)
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)
    disturbed = [entry["f"] for entry in entries if entry["process"] == "nemesis"]
    assert disturbed == ["kill-redis-begins", "kill-redis-ends"]
    by_process: dict[int, list[str]] = {}
    for entry in entries:
        if entry["process"] != "nemesis":
            by_process.setdefault(entry["process"], []).append(entry["type"])
    for types in by_process.values():
        assert types[::2] == ["invoke"] * (len(types) // 2)
        # Nobody knows what became of a request that ended in an outage, so its process is not used again.
        assert "info" not in types[:-1]
    assert any(types[-1] == "info" for types in by_process.values())


async def test_the_page_says_what_a_layer_does_not_promise_and_what_was_not_run(tmp_path: Path) -> None:
    [layer] = [each for each in load_layers(MANIFEST) if each.name == "Flask-Session"]
    cells = {"redis-flushed": await SCENARIOS["redis-flushed"].play(MemoryLayer("saves whole sessions").site(), SWIFT)}
    found = Findings(layer, cells, versions="layer 1.0")
    page = as_page([found], absent={"Elsewhere": "a compiler is not here"})
    assert "| [Redis flushed](#redis-flushed) | **lost**† |" in page
    assert layer.outside["redis-flushed"] in page
    assert "Elsewhere was not run: a compiler is not here." in page
    [as_data] = json.loads(as_json([found]))["layers"].values()
    assert as_data["scenarios"]["redis-flushed"]["verdict"] == "lost"
    (tmp_path / "results.json").write_text(as_json([found]))
    [earlier] = read_findings(tmp_path / "results.json", [layer])
    later = Findings(layer, {"logout-replay": [Cell("the cookie from before", "dead", Verdict.OK)]}, versions="layer 1.1")
    [both] = merged([earlier], [later], [layer])
    assert {name: both.verdict(name) for name in both.cells} == {"logout-replay": Verdict.OK, "redis-flushed": Verdict.LOST}


def test_help_and_page_say_the_six_routes_and_every_scenario() -> None:
    said = CliRunner().invoke(cli, ["run", "--help"]).output
    page = (KIT / "README.md").read_text()
    for route in ROUTES:
        assert " ".join(route.split()) in " ".join(said.split())
        assert route in page
    listed = CliRunner().invoke(cli, ["scenarios"]).output
    for name in SCENARIOS:
        assert f"{name}: " in listed
        assert f"`{name}`" in page
    assert CliRunner().invoke(cli, ["run"]).exit_code == 2
    assert CliRunner().invoke(cli, ["run", "--adapter", "http://127.0.0.1:1", "--only", "no-such"]).exit_code == 2


def test_layers_name_scenarios_and_files_that_exist_and_pin_their_versions() -> None:
    layers = load_layers(MANIFEST)
    assert len(layers) >= 8
    for layer in layers:
        assert layer.outside.keys() <= SCENARIOS.keys(), layer.name
        assert layer.folder.is_dir()
        assert layer.versions
        assert layer.about
    packages = json.loads((KIT / "adapters" / "node" / "package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", each) for each in packages.values())
    locked = json.loads((KIT / "adapters" / "node" / "package-lock.json").read_text())["packages"]
    assert all("integrity" in package and "resolved" not in package for name, package in locked.items() if name)


def test_it_runs_a_layer_of_somebody_elses_with_a_redis_of_its_own(tmp_path: Path) -> None:
    """The whole way: two processes, Valkey, links, files. Then the same adapter as a mere address."""
    start = f"{sys.executable} {ROOT / 'tests' / 'integration' / 'session_adapter.py'} {{port}} {{redis}}"
    command = [sys.executable, "-m", "benchmarks.faults.holdfast_faults", "run"]
    only = ["--only", "logout-replay", "--only", "redis-flushed", "--json", str(tmp_path / "found.json"), "--history", str(tmp_path)]
    done = subprocess.run([*command, "--start", start, "--name", "mine", *only], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    scenarios = json.loads((tmp_path / "found.json").read_text())["layers"]["mine"]["scenarios"]
    assert {name: each["verdict"] for name, each in scenarios.items()} == {"logout-replay": "ok", "redis-flushed": "lost"}
    assert (tmp_path / "mine" / "redis-flushed.jsonl").read_text().count('"f": "flush"') == 1
