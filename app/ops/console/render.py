"""A page of the console as regions: named pieces of HTML, drawn alike for the page and for the stream that renews it."""

import re
from datetime import UTC, datetime
from typing import Any

from quart import Blueprint, current_app

from app.ops.statistics import charts
from app.pages.kit.context import asset

_REGION = re.compile(r"<!--region ([a-z-]+)-->")


async def render_regions(template: str, **values: Any) -> dict[str, str]:
    """By name, in their order. Needs no request, so that a stream can draw them."""
    html = await current_app.jinja_env.get_template(template).render_async(asset=asset, **values)
    parts = _REGION.split(html)
    return {name: html.strip() for name, html in zip(parts[1::2], parts[2::2], strict=True)}


def init_filters(blueprint: Blueprint) -> None:
    for function in (stamp, figure, took, age, wanted, as_sentence):
        blueprint.add_app_template_filter(function, function.__name__.removeprefix("as_"))


def stamp(moment: datetime) -> str:
    """To the second, in UTC, short enough for a column."""
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%b %H:%M:%S}"


def figure(value: float) -> str:
    """A number in three figures or so: 99.95, 12.5, 1,234. Never rounded up to a round hundred."""
    if 99 < value < 100:
        return f"{int(value * 100) / 100:g}"
    return charts.plain(value)


def wanted(target: Any) -> str:
    """A target in words: `at least 95 %`, `below 10`."""
    return f"{target.wants} {figure(target.target)} {target.unit}".rstrip()


def as_sentence(text: str) -> str:
    """A fault in a driver's words, with a capital and an end."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def took(milliseconds: int | None) -> str:
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    seconds = milliseconds / 1000
    return f"{seconds:.1f} s" if seconds < 60 else age(seconds)


def age(seconds: float) -> str:
    """A length of time in its two largest units: `45 s`, `3 min 20 s`, `2 h 5 min`, `4 d 3 h`."""
    whole = int(seconds)
    for size, unit, smaller, smaller_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}{f' {rest} {smaller_unit}' if rest else ''}"
    return f"{whole} s"
