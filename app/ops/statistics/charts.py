"""Charts as numbers a template can draw: where bars, lines, ticks and thresholds stand. Pure geometry; knows no colours.

Across, everything is in per cent of the width, so that a chart fits any window without a script. Down, it is in pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from app.ops.statistics.windows import Window

HEIGHT = 132
TOP = 12
NAME_HEIGHT = 14
# In per cent: a stretch of seconds in a week is still to be seen.
MIN_SPAN = 0.3
# Of the coordinates lines are drawn in; stretched to the width there is.
LINE_WIDTH = 1000
Tone = Literal["accent", "muted", "amber", "red", "green"]
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Series:
    """One value for each bucket, None where nothing was measured."""

    name: str
    values: Sequence[float | None]
    tone: Tone = "accent"


@dataclass(frozen=True)
class Threshold:
    """A line across, with its name written on it."""

    value: float
    name: str
    tone: Tone = "muted"


@dataclass(frozen=True)
class Tick:
    at: float
    label: str
    # Left out where the window is narrow.
    minor: bool = False
    anchor: str = "middle"


@dataclass(frozen=True)
class Bar:
    x: float
    width: float
    y: float
    height: float
    tone: Tone


@dataclass(frozen=True)
class Line:
    path: str
    tone: Tone
    name: str


@dataclass(frozen=True)
class Level:
    """Its name stands above the line, or below it where another one's would be in the way."""

    y: float
    name: str
    tone: Tone
    name_y: float


@dataclass(frozen=True)
class Spot:
    """Where a pointer rests, and what it is told there."""

    x: float
    width: float
    text: str


@dataclass(frozen=True)
class Chart:
    title: str
    unit: str
    summary: str
    series: Sequence[Series]
    y_ticks: list[Tick] = field(default_factory=list)
    x_ticks: list[Tick] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    spots: list[Spot] = field(default_factory=list)
    rows: list[tuple[datetime, list[str]]] = field(default_factory=list)
    is_empty: bool = False
    height: int = HEIGHT


def draw(
    title: str,
    series: Sequence[Series],
    over: Window | list[datetime],
    now: datetime,
    *,
    unit: str = "",
    kind: Literal["line", "bars"] = "line",
    thresholds: Sequence[Threshold] = (),
    low: float = 0,
    high: float | None = None,
    summary: str = "",
    say: Callable[[float], str] | None = None,
) -> Chart:
    """Lines, or bars on top of each other, over the buckets of a window, or those that begin at the times given.

    `say` writes a value; `high` is the top where it is known, such as 100 per cent.
    """
    say = say or plain
    starts = over if isinstance(over, list) else over.starts(now)
    measured = [value for each in series for value in each.values if value is not None]
    if kind == "bars":
        stacked = [sum(value or 0 for value in column) for column in zip(*(each.values for each in series), strict=True)]
        measured = [*stacked] if any(stacked) else []
    scale = _Scale(low, high if high is not None else _top([*measured, *(each.value for each in thresholds)]))
    return Chart(
        title=title,
        unit=unit,
        summary=summary,
        series=series,
        y_ticks=[Tick(scale.y(value), say(value)) for value in scale.ticks()],
        x_ticks=_time_ticks(starts),
        bars=_bars(series, scale) if kind == "bars" else [],
        lines=[_line(each, scale) for each in series] if kind == "line" else [],
        levels=_levels([each for each in thresholds if scale.low <= each.value <= scale.high], scale),
        spots=_spots(series, starts, unit, say),
        rows=[(start, [_cell(each.values[index], unit, say) for each in series]) for index, start in enumerate(starts)],
        is_empty=not measured,
    )


@dataclass(frozen=True)
class Span:
    """A stretch of a state: from, to (in per cent of the width), what it was."""

    x: float
    width: float
    tone: Tone
    label: str
    text: str


def spans(
    changes: Sequence[tuple[datetime, str, str]],
    before: str,
    window: Window,
    now: datetime,
    tones: dict[str, Tone],
    *,
    began_at: datetime | None = None,
) -> list[Span]:
    """A state over time. `changes` are (when, to what, why), the oldest first; `before` is the state until the first of them.

    Nothing is drawn for the time before `began_at`.
    """
    since, until = window.since(now), now
    whole = (until - since) / timedelta(seconds=1)
    edges = [(max(since, began_at or since), before, ""), *changes]
    drawn = []
    for (begin, state, why), end in zip(edges, [*(when for when, _, _ in changes), until], strict=True):
        begin, end = max(begin, since), min(max(end, since), until)
        width = (end - begin).total_seconds() / whole * 100
        if width > 0:
            x = (begin - since).total_seconds() / whole * 100
            text = f"{state}: {begin:%d %b %H:%M:%S} – {end:%H:%M:%S}{f' ({why})' if why else ''}"
            width = max(width, MIN_SPAN)
            drawn.append(Span(round(min(x, 100 - width), 3), round(width, 3), tones.get(state, "muted"), state, text))
    return drawn


def time_ticks(window: Window, now: datetime) -> list[Tick]:
    return _time_ticks(window.starts(now))


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float

    def y(self, value: float) -> float:
        clipped = min(max(value, self.low), self.high)
        return round(HEIGHT - (clipped - self.low) / (self.high - self.low) * (HEIGHT - TOP), 1)

    def ticks(self) -> list[float]:
        step = _nice((self.high - self.low) / 3)
        count = int((self.high - self.low) / step + 1e-9)
        return [self.low + step * each for each in range(count + 1)]


def _top(values: Sequence[float]) -> float:
    most = max(values, default=1) or 1
    step = _nice(most / 3)
    return step * -(-most // step)


def _nice(raw: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 … times a power of ten."""
    if raw <= 0:
        return 1
    magnitude = 10.0 ** _exponent(raw)
    return next(step * magnitude for step in _STEPS if step * magnitude >= raw * 0.999999)


def _exponent(value: float) -> int:
    exponent = 0
    while value >= 10:
        value, exponent = value / 10, exponent + 1
    while value < 1:
        value, exponent = value * 10, exponent - 1
    return exponent


def _bars(series: Sequence[Series], scale: _Scale) -> list[Bar]:
    count = len(series[0].values)
    slot = 100 / count
    bars = []
    for index in range(count):
        base = 0.0
        for each in series:
            value = each.values[index] or 0
            if value:
                top, bottom = scale.y(base + value), scale.y(base)
                # One among thousands is one pixel high, not none.
                bars.append(
                    Bar(round(index * slot + slot * 0.12, 3), round(slot * 0.76, 3), min(top, bottom - 1), max(bottom - top, 1), each.tone)
                )
            base += value
    return bars


def _levels(thresholds: Sequence[Threshold], scale: _Scale) -> list[Level]:
    levels: list[Level] = []
    for each in sorted(thresholds, key=lambda each: scale.y(each.value)):
        y = scale.y(each.value)
        crowded = bool(levels) and y - levels[-1].y < NAME_HEIGHT
        levels.append(Level(y, each.name, each.tone, y + NAME_HEIGHT - 2 if crowded else y - 4))
    return levels


def _line(series: Series, scale: _Scale) -> Line:
    count = len(series.values)
    commands, pen_down = [], False
    for index, value in enumerate(series.values):
        if value is None:
            pen_down = False
            continue
        x, y = round((index + 0.5) * LINE_WIDTH / count, 1), scale.y(value)
        # A point alone is a dot: a line of no length with a round end.
        commands.append(f"L{x} {y}" if pen_down else f"M{x} {y}h.01")
        pen_down = True
    return Line("".join(commands), series.tone, series.name)


def _spots(series: Sequence[Series], starts: list[datetime], unit: str, say: Callable[[float], str]) -> list[Spot]:
    slot, length = 100 / len(starts), _length(starts)
    spots = []
    for index, start in enumerate(starts):
        values = ", ".join(f"{each.name} {_cell(each.values[index], unit, say)}" for each in series)
        spots.append(Spot(round(index * slot, 3), round(slot, 3), f"{start:%d %b %H:%M} – {start + length:%H:%M} UTC: {values}"))
    return spots


def _length(starts: list[datetime]) -> timedelta:
    return starts[1] - starts[0] if len(starts) > 1 else timedelta(hours=1)


def _time_ticks(starts: list[datetime]) -> list[Tick]:
    """At round times: every ten minutes of an hour, four hours of a day, every day of a week."""
    span = starts[-1] - starts[0]
    by_day = span > timedelta(days=2)
    every = timedelta(days=1) if by_day else timedelta(hours=4) if span > timedelta(hours=2) else timedelta(minutes=10)
    seconds, slot = int(every.total_seconds()), 100 / len(starts)
    ticks: list[Tick] = []
    for index, start in enumerate(starts):
        if int(start.timestamp()) % seconds == 0:
            at = round(index * slot, 3)
            anchor = "start" if at < 5 else "end" if at > 95 else "middle"
            ticks.append(Tick(at, f"{start:%d %b}" if by_day else f"{start:%H:%M}", minor=len(ticks) % 2 == 1, anchor=anchor))
    return ticks


def _cell(value: float | None, unit: str, say: Callable[[float], str]) -> str:
    return "no data" if value is None else f"{say(value)}{' ' + unit if unit else ''}"


def plain(value: float) -> str:
    """Three figures are enough: 1.25, 12.5, 125, 1,250, 12.5k."""
    if value >= 10_000_000:
        return f"{value / 1_000_000:,.0f}M"
    if value >= 10_000:
        return f"{value / 1000:,.0f}k"
    text = f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
