"""The rules of docs/operations/alerts.yml against what `/metrics` really says: each fires for its condition, and for no other."""

import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from quart import Quart

from app.core.metrics import METRICS
from app.ops.console.console import Console
from app.ops.statistics.site import GAUGES
from tests.integration.scene import Scene
from tests.promql import Evaluator, Labels, Series, parse_rules

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations"
RULES = OPERATIONS / "alerts.yml"
# What each rule is about: where these series stand after a quarter of an hour that began with what is scraped from a site that is well.
# A number is added to the end of the series; None takes the series away.
CONDITIONS: dict[str, dict[str, float | None]] = {
    "HoldfastSessionBackendDegraded": {"holdfast_session_flag_redis": -1},
    "HoldfastBackendFlapping": {"holdfast_session_epoch": 4},
    "HoldfastBreakerOpen": {"holdfast_breaker_open": 1},
    "HoldfastSessionsUnknown": {'holdfast_session_reads_total{by="unknown"}': 3},
    "HoldfastDatabaseDown": {"holdfast_database_up": -1},
    "HoldfastDown": {"holdfast_database_up": None},
    "HoldfastSessionTableLarge": {"holdfast_sessions_per_user": 11},
    "HoldfastSessionTableHuge": {"holdfast_sessions_per_user": 101},
    "HoldfastRestoreRateLow": {'holdfast_restores_total{outcome="refused_revoked"}': 12},
    "HoldfastRestoresFail": {'holdfast_restores_total{outcome="error"}': 1},
    "HoldfastRestoreSlow": {'holdfast_restore_seconds_bucket{le="0.1"}': 9, 'holdfast_restore_seconds_bucket{le="+Inf"}': 9},
    "HoldfastSelectionsRefused": {'holdfast_selections_total{outcome="refused"}': 7},
    "HoldfastRequestsFail": {'holdfast_http_requests_total{method="GET",status="5xx"}': 2},
    "HoldfastRefusals": {'holdfast_security_events_total{kind="forbidden"}': 301},
    "HoldfastPasswordsGuessed": {'holdfast_security_events_total{kind="sign_in_failed"}': 101},
    "HoldfastSessionChangesDropped": {'holdfast_session_saves_dropped_total{reason="unavailable"}': 1},
    "HoldfastNoWorker": {'holdfast_processes{kind="worker"}': -1},
    "HoldfastJobMissed": {"holdfast_jobs_missed": 1},
    "HoldfastJobsWaiting": {"holdfast_jobs_oldest_queued_seconds": 601},
    "HoldfastJobsFail": {'holdfast_job_runs{status="failed"}': 1},
    "HoldfastSessionsNotExpired": {'holdfast_job_last_success_timestamp_seconds{job="expire_sessions"}': -130_000},
    "HoldfastStaleDealsNotSwept": {'holdfast_job_last_success_timestamp_seconds{job="sweep_stale_deals"}': -700_000},
    "HoldfastAuditNotVerified": {'holdfast_job_last_success_timestamp_seconds{job="verify_audit_chain"}': -130_000},
    "HoldfastEventsBehind": {'holdfast_events_behind{group="notify"}': 1001},
    "HoldfastOutboxStuck": {"holdfast_outbox_oldest_seconds": 301},
    "HoldfastPendingStuck": {'holdfast_stream_oldest_pending_seconds{group="analytics"}': 301},
    "HoldfastDeadLetters": {'holdfast_dead_letters{group="analytics"}': 1},
}
# One follows from the other.
ALSO = {"HoldfastSessionTableHuge": {"HoldfastSessionTableLarge"}}
# What a busy site that is well does in a quarter of an hour; without it nothing is divided by anything.
BUSY = {
    'holdfast_restores_total{outcome="restored"}': 100,
    'holdfast_restore_seconds_bucket{le="0.005"}': 100,
    'holdfast_restore_seconds_bucket{le="0.01"}': 100,
    'holdfast_restore_seconds_bucket{le="0.025"}': 100,
    'holdfast_restore_seconds_bucket{le="0.05"}': 100,
    'holdfast_restore_seconds_bucket{le="0.1"}': 100,
    'holdfast_restore_seconds_bucket{le="+Inf"}': 100,
    'holdfast_selections_total{outcome="selected"}': 100,
    'holdfast_http_requests_total{method="GET",status="2xx"}': 100,
}
QUARTER = 900.0


@pytest.fixture
async def scraped(app: Quart) -> dict[tuple[str, Labels], float]:
    """What a site says that has been used a little; with the series of its worker and of its jobs, which it does not have yet."""
    scene = await Scene.set(app)
    await scene.select("viewer")
    response = await app.test_client().get("/metrics", scope_base={"client": ("127.0.0.1", 1)})
    families = text_string_to_metric_families(await response.get_data(as_text=True))
    found = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}
    found[("holdfast_processes", (("kind", "worker"),))] = 1
    for job in ("expire_sessions", "sweep_stale_deals", "verify_audit_chain"):
        found[("holdfast_job_last_success_timestamp_seconds", (("job", job),))] = scene.resources.clock.now().timestamp()
    return found


def series(scraped: Mapping[tuple[str, Labels], float], now: float, changes: Mapping[str, float | None]) -> Series:
    """Every five seconds are the same but the last: `changes` come on top of a busy quarter of an hour."""
    ends: dict[tuple[str, Labels], list[tuple[float, float]]] = {key: [(now - QUARTER, value)] for key, value in scraped.items()}
    moved: dict[tuple[str, Labels], float | None] = {}
    for text, by in [*BUSY.items(), *changes.items()]:
        key = parse_series(text)
        moved[key] = None if by is None else (moved.get(key) or 0) + by
        ends.setdefault(key, [(now - QUARTER, 0.0)])
    drawn: dict[tuple[str, Labels], list[tuple[float, float]]] = {}
    for key, ((began, value),) in ends.items():
        by = moved.get(key, 0.0)
        if by is not None:
            # The change lies within the shortest window any rule looks back over.
            drawn[key] = [(began, value), (now - 299, value), (now, value + by)]
    return drawn


def parse_series(text: str) -> tuple[str, Labels]:
    name, _, labels = text.partition("{")
    return name, tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels)))


def test_the_file_is_sound_and_every_rule_says_what_to_do() -> None:
    rules = list(parse_rules(RULES.read_text()))
    assert [rule["alert"] for rule in rules] == list(dict.fromkeys(rule["alert"] for rule in rules)), "no name twice"
    assert {rule["alert"] for rule in rules} == CONDITIONS.keys()
    for rule in rules:
        assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}, rule
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s")), rule
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "action"}
    if promtool := shutil.which("promtool"):
        subprocess.run([promtool, "check", "rules", RULES], check=True, capture_output=True)


@on_sqlite
async def test_each_rule_fires_for_its_condition_and_no_other_does(scraped: dict[tuple[str, Labels], float], app: Quart) -> None:
    now = app.extensions["holdfast"].clock.now().timestamp()
    rules = {rule["alert"]: rule["expr"] for rule in parse_rules(RULES.read_text())}

    def firing(changes: Mapping[str, float | None]) -> set[str]:
        evaluator = Evaluator(series(scraped, now, changes), now)
        return {name for name, expression in rules.items() if any(not math.isnan(value) for value in evaluator.value(expression).values())}

    assert firing({}) == set(), "a site that is well"
    for name, changes in CONDITIONS.items():
        assert firing(changes) == {name} | ALSO.get(name, set()), changes


@on_sqlite
async def test_every_metric_that_rules_and_dashboard_name_exists(scraped: dict[tuple[str, Labels], float], app: Quart) -> None:
    evaluator = Evaluator(series(scraped, 0, {}), 0)
    expressions = [rule["expr"] for rule in parse_rules(RULES.read_text())]
    dashboard = json.loads((OPERATIONS / "grafana.json").read_text())
    expressions += [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert len(expressions) > 40
    for expression in expressions:
        evaluator.value(expression)
    known = documented_metrics()
    assert {re.sub(r"_bucket$", "", name) for name in evaluator.names} - known == set()


@on_sqlite
async def test_the_table_of_metrics_is_what_is_scraped(scraped: dict[tuple[str, Labels], float], app: Quart) -> None:
    ours = {name for name, _ in scraped if name.startswith("holdfast_") and not name.endswith("_created")}
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in ours}
    assert {f"holdfast_{name}" for name in GAUGES} <= names, "each is measured"
    assert names <= documented_metrics()
    # A counter with labels that nothing was counted for yet is declared, and not shown.
    declared = {family.name for family in _declared()}
    assert documented_metrics() - names <= {f"{name}_total" for name in declared} | declared


def documented_metrics() -> set[str]:
    return set(re.findall(r"^\| `(holdfast_\w+)`", (OPERATIONS / "metrics.md").read_text(), re.MULTILINE))


def _declared() -> Iterable[Metric]:
    return METRICS.registry.collect()


@on_sqlite
async def test_a_scrape_asks_sql_once_in_a_while(app: Quart) -> None:
    """However many scrapers ask at once."""
    console: Console = app.extensions["console"]
    first = await console.site_figures.get()
    assert await console.site_figures.get() is first
