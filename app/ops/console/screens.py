"""The live part of each page of the console: from a query to regions of HTML. Everything is read from SQL."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field

from app.jobs.definitions import FORMER_NAMES, JOBS
from app.jobs.service import MAX_RETRIED
from app.ops.console.console import Console
from app.ops.console.overview import view_work
from app.ops.console.render import as_sentence, figure, render_regions
from app.ops.explain.explain import explain
from app.ops.explain.store import find_people
from app.ops.jobs.view import JobsQuery, RunBucket, view_history, view_jobs, view_run
from app.ops.sessions.targets import RESTORE_P99_ALERT_MS, RESTORE_P99_MS, RESTORE_RATE, RESTORE_RATE_ALERT
from app.ops.sessions.view import Flip, SessionsView, view_sessions
from app.ops.statistics.charts import Chart, Series, Span, Threshold, Tone, draw, spans, time_ticks
from app.ops.statistics.windows import WINDOWS, Window, WindowName
from app.ops.streams.view import StreamsQuery, StreamsView, view_streams
from app.resources import Resources

Regions = dict[str, str]
PEOPLE_SHOWN = 20


class NoQuery(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class WindowQuery(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    window: WindowName = "24h"


async def sessions(console: Console, query: WindowQuery) -> Regions:
    window = WINDOWS[query.window]
    view = await load_sessions(console, window)
    return await render_regions(
        "ops/_sessions.html", view=view, window=window, charts=_session_charts(view, window), redis_fault=redis_fault(console.resources)
    )


async def load_sessions(console: Console, window: Window) -> SessionsView:
    counts = await console.sessions.get()
    async with console.resources.database.read() as db:
        return await view_sessions(db, console.resources, window, sessions=counts)


def _session_charts(view: SessionsView, window: Window) -> dict[str, Any]:
    traffic = view.traffic
    rate = [each.restore_rate for each in traffic]
    ratio = [each.hit_ratio for each in traffic]
    counts = [
        Series("restored", [each.restored for each in traffic], "accent"),
        Series("refused", [each.restores_refused for each in traffic], "amber"),
        Series("failed", [each.restores_failed for each in traffic], "red"),
    ]
    times = [
        Series("p99", [each.restore_p99_ms for each in traffic], "accent"),
        Series("median", [each.restore_p50_ms for each in traffic], "muted"),
    ]
    in_time = [Threshold(RESTORE_P99_MS, "target 10 ms", "muted"), Threshold(RESTORE_P99_ALERT_MS, "alert 50 ms", "red")]
    rates = [Threshold(RESTORE_RATE, "target 95 %", "muted"), Threshold(RESTORE_RATE_ALERT, "alert 90 %", "red")]
    drawn: list[Chart] = [
        draw(
            "Restores that succeed",
            [Series("success", rate)],
            window,
            view.at,
            unit="%",
            thresholds=rates,
            low=_floor(rate),
            high=100,
            summary=_last(rate, "%"),
        ),
        draw("Restore time", times, window, view.at, unit="ms", thresholds=in_time, summary=_last(times[0].values, "ms at p99")),
        draw("Restores", counts, window, view.at, kind="bars", summary=f"{sum(each.restored for each in traffic):,} restored"),
        draw(
            "Session reads answered by Redis",
            [Series("hit ratio", ratio)],
            window,
            view.at,
            unit="%",
            low=_floor(ratio),
            high=100,
            summary=_last(ratio, "%"),
        ),
    ]
    return {
        "drawn": drawn,
        "flips": _flip_spans(view, window),
        "ticks": time_ticks(window, view.at),
        "flips_summary": _flips_summary(view.flips, view, window),
    }


def _floor(values: list[float | None]) -> float:
    """Where a scale of per cent begins, so that there is something to see."""
    least = min((value for value in values if value is not None), default=100)
    return next(low for low in (80, 50, 0) if least >= low)


def _last(values: Any, unit: str) -> str:
    last = next((value for value in reversed(values) if value is not None), None)
    return "" if last is None else f"latest {figure(last)} {unit}"


def _flip_spans(view: SessionsView, window: Window) -> list[Span]:
    since = window.since(view.at)
    within = [each for each in reversed(view.flips) if each.at > since]
    earlier = next((each.to for each in view.flips if each.at <= since), None)
    before = earlier or (_other(within[0].to) if within else view.backend.mode)
    names = {"redis": "Redis", "sql": "SQL"}
    changes = [(each.at, names[each.to], each.reason) for each in within]
    tones: dict[str, Tone] = {"Redis": "accent", "SQL": "amber"}
    return spans(changes, names[before], window, view.at, tones, began_at=view.backend.began_at)


def _other(mode: str) -> str:
    return "sql" if mode == "redis" else "redis"


def _flips_summary(flips: list[Flip], view: SessionsView, window: Window) -> str:
    since = window.since(view.at)
    down = sum(each.at > since and each.to == "sql" for each in flips)
    times = "never left Redis" if not down else "left Redis once" if down == 1 else f"left Redis {down} times"
    if view.backend.mode == "redis":
        return f"now Redis; {times}"
    return f"now SQL; {times}" if down else "now SQL"


class UserQuery(BaseModel):
    """`q` is an address, or a part of one."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    q: str = Field(default="", max_length=320)


async def users(resources: Resources, query: UserQuery) -> dict[str, Any]:
    """The explanation where `q` is somebody's address, else the people it could mean."""
    text = query.q.strip()
    if not text:
        return {"explanation": None, "people": [], "searched": ""}
    async with resources.database.read() as db:
        found = await explain(db, resources.settings, text, now=resources.clock.now())
        people = [] if found else await find_people(db, text, limit=PEOPLE_SHOWN)
        if len(people) == 1:
            found, people = await explain(db, resources.settings, people[0].email, now=resources.clock.now()), []
    return {"explanation": found, "people": people, "searched": text}


async def overview(console: Console, query: NoQuery) -> Regions:
    """Whether all is well, and what to do if it is not."""
    resources, window = console.resources, WINDOWS["24h"]
    findings, counts = await console.findings.get(), await console.sessions.get()
    async with resources.database.read() as db:
        view = await view_sessions(db, resources, window, sessions=counts)
        site = await view_work(db, resources.clock.now())
    trouble = [each for each in findings if each.state != "ok"]
    worst = "failed" if any(each.state == "failed" for each in trouble) else "warning" if trouble else "ok"
    return await render_regions("ops/_overview.html", view=view, window=window, findings=findings, trouble=trouble, worst=worst, site=site)


async def jobs(console: Console, query: JobsQuery) -> Regions:
    resources, window = console.resources, WINDOWS[query.window]
    now = resources.clock.now()
    buckets = await console.run_figures(window)
    async with resources.database.read() as db:
        view = await view_jobs(db, now=now)
        history = await view_history(db, query, settings=resources.settings)
    return await render_regions(
        "ops/_jobs.html",
        view=view,
        history=history,
        query=query,
        window=window,
        jobs=[name for name in JOBS if name not in FORMER_NAMES],
        charts=_job_charts(buckets, window, now),
        ended=sum(each.succeeded + each.failed + each.cancelled for each in buckets),
        failed=sum(each.failed for each in buckets),
        most_retried=MAX_RETRIED,
        link=partial(jobs_address, query),
        redis_fault=redis_fault(resources),
    )


def jobs_address(query: JobsQuery, **changes: str) -> str:
    """The page's address with `changes`; from the first page on, unless they name another."""
    asked = query.model_dump(exclude_defaults=True, exclude={"cursor"}) | changes
    kept = {name: value for name, value in asked.items() if value and (name, value) not in (("sort", "newest"), ("window", "24h"))}
    return f"/ops/jobs{'?' + urlencode(kept) if kept else ''}#history"


def _job_charts(buckets: list[RunBucket], window: Window, now: datetime) -> list[Chart]:
    ways = [
        Series("succeeded", [each.succeeded for each in buckets], "accent"),
        Series("failed", [each.failed for each in buckets], "red"),
        Series("cancelled", [each.cancelled for each in buckets], "muted"),
    ]
    lengths = [Series("p95", [None if each.p95_ms is None else each.p95_ms / 1000 for each in buckets])]
    per = {"1h": "a minute", "24h": "in 15 minutes", "7d": "in 2 hours"}[window.name]
    total = sum(each.succeeded for each in buckets)
    return [
        draw("Runs that ended", ways, window, now, unit=per, kind="bars", summary=f"{total:,} succeeded"),
        draw("How long they took", lengths, window, now, unit="s", summary=_last(lengths[0].values, "s at p95")),
    ]


@dataclass(frozen=True)
class RunAsked:
    """Which run a page is about; part of its address, not of its query."""

    id: int


async def run(console: Console, asked: RunAsked) -> Regions:
    """Raises `NotFound`."""
    async with console.resources.database.read() as db:
        view = await view_run(db, asked.id)
    job = JOBS.get(view.job)
    return await render_regions(
        "ops/_run.html",
        run=view,
        summary=job.summary if job else "This version knows no such job",
        tries=job.tries if job else 1,
        redis_fault=redis_fault(console.resources),
    )


def redis_fault(resources: Resources) -> str:
    """Why Redis, though configured, is not in use; empty while it is, or where none is configured."""
    backend = resources.backend
    if backend.redis is None or backend.backend == "redis":
        return ""
    return as_sentence(backend.redis_fault or backend.flag.reason or "It has not been looked at yet")


async def streams(console: Console, query: StreamsQuery) -> Regions:
    resources, window = console.resources, WINDOWS[query.window]
    view = await view_streams(resources, query)
    return await render_regions(
        "ops/_streams.html", view=view, query=query, window=window, charts=[_event_chart(view)], link=partial(_streams_address, query)
    )


def _streams_address(query: StreamsQuery, **changes: str | int) -> str:
    kept = {name: value for name, value in ({"window": query.window} | changes).items() if value and value != "24h"}
    return f"/ops/streams{'?' + urlencode(kept) if kept else ''}"


def _event_chart(view: StreamsView) -> Chart:
    periods = [each.start for each in view.events]
    counted = Series("events", [each.events for each in view.events])
    per = "in 5 minutes" if view.window == "1h" else "an hour"
    total = sum(each.events for each in view.events)
    return draw("Events rolled up by the analytics group", [counted], periods, view.at, unit=per, kind="bars", summary=f"{total:,} in all")
