"""Nothing anybody can send keeps the event loop from everybody else: the dearest texts of the greatest length, everywhere.

What is measured is the processor time of the loop's thread between two of its rounds, which does not depend on what else the machine does.
"""

import asyncio
import gc
import gzip
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from app.findings.markdown import NOTE, as_html, lay_out
from tests.integration.scene import Scene

sqlite_alone = pytest.mark.parametrize(("database_url", "redis_url"), [("sqlite", "none")], indirect=True)

LIMIT_SECONDS = 0.05
LONGEST = 20_000
BODY = 63_000


def filled(unit: str, length: int = LONGEST) -> str:
    return (unit * (length // len(unit) + 1))[:length]


MARKS = "a" + "\u0301" * 15_000 + "\u0327" * 15_000  # out of their order: sorting them takes the square
TEXTS = {
    "brackets": filled("["),
    "brackets around": filled("[[a]"),
    "pictures": filled("!["),
    "links": "[" * 9_000 + "a" + "](b)" * 2_700,
    "addresses": filled("<http://a>"),
    "emphasis": filled("*a_ "),
    "emphasis within": filled("*a**a"),
    "asterisks": filled("*_"),
    "code": "".join("`" * n + " " for n in range(1, 199))[:LONGEST],
    "entities": filled("&amp"),
    "tags": filled("<a "),
    "comments": filled("<!--"),
    "lines": filled("a\n"),
    "list": filled("- a\n"),
    "lists within": filled("- - - a\n"),
    "deep lists": "".join("  " * n + "- a\n" for n in range(130)),
    "quotes": filled(">"),
    "references": filled("[a]: b\n"),
    "breaks": filled("a\\\n"),
    "table": "|a|b|\n|-|-|\n" + filled("|a|b\n", 19_900),
    "table of short rows": "|a" * 2_000 + "\n" + "|-" * 2_000 + "\n" + filled("a\n", 11_900),
    "many tables": filled("|a" * 63 + "\n" + "|-" * 63 + "\n" + "a\n" * 62 + "\n"),
    "headings": filled("# a\n"),
    "underlined": filled("a\n=\n"),
    "titles": filled('[a](b "'),
    "definitions never ended": filled('[a]: b "\n'),
    "labels never ended": "[" + filled("a\\]", 19_000),
    "schemes": filled("<a:"),
    "lists and quotes": filled("> - "),
    "starred lists": filled("* * a\n"),
}


IF_MATCH = {"Content-Type": "application/json", "If-Match": ", ".join(f'"{number}"' for number in range(4_000))}


def sent(body: Any) -> dict[str, Any]:
    """As a client sends it that wastes no byte on escapes."""
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return {"data": data, "headers": {"Content-Type": "application/json"}}


@dataclass
class Watch:
    """`longest` is the processor time, in seconds, that one round of the loop took."""

    longest: float = 0.0


@contextmanager
def watched() -> Iterator[Watch]:
    loop, watch, last, done = asyncio.get_running_loop(), Watch(), time.thread_time(), False

    def look() -> None:
        nonlocal last
        now = time.thread_time()
        watch.longest, last = max(watch.longest, now - last), now
        if not done:
            loop.call_soon(look)

    loop.call_soon(look)
    gc.disable()  # a look through all that the test run holds says nothing of this request
    try:
        yield watch
    finally:
        gc.enable()
        done = True
        look()


@pytest.fixture
async def scene(scene: Scene) -> Scene:
    for who in ("editor", "viewer", "admin"):
        await scene.call(who, "GET", "~")
    return scene


async def test_watch_sees_a_loop_that_stands_still() -> None:
    with watched() as watch:
        until = time.thread_time() + 2 * LIMIT_SECONDS
        while time.thread_time() < until:
            pass
        await asyncio.sleep(0)
    assert watch.longest > LIMIT_SECONDS


@sqlite_alone
async def test_no_text_of_a_finding_keeps_the_loop(scene: Scene) -> None:
    client = await scene.client("viewer")
    stalls: dict[str, float] = {}
    for name, text in {"first, which compiles the template": "", **TEXTS}.items():
        status, body = await scene.call("editor", "POST", "~/findings", json={"title": name, "text": text})
        assert status == 201, (name, body)
        lay_out.cache_clear()
        begun = time.process_time()
        with watched() as watch:
            page = await client.get(f"/deals/{scene.deal.id}/findings/{body['finding']['id']}")
        assert page.status_code == 200
        assert time.process_time() - begun < 1.5, (name, "what is off the loop has a bound, too")
        stalls[name] = watch.longest if text else 0
    assert {name: stall for name, stall in stalls.items() if stall > LIMIT_SECONDS} == {}


@pytest.mark.parametrize("name", ["deep lists", "quotes", "brackets", "many tables"])
async def test_text_that_is_too_involved_is_shown_to_its_last_letter(name: str) -> None:
    text = TEXTS[name] + " <last>"
    html = str(as_html(text))
    assert NOTE in html
    shown = html.partition("</p>\n<p>")[2].removesuffix("</p>\n").replace("<br />\n", "\n")
    assert shown == text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


async def test_text_as_people_write_it_is_laid_out() -> None:
    lines = [f"- **Claim {n}**, see [the docket](https://docket.example/{n}) of `{n}`: _open_" for n in range(250)]
    table = "\n".join(["|a|b|c|", "|-|-|-|", *(f"|{n}|{n}|{n}|" for n in range(300))])
    html = as_html("# Claims\n\n" + "\n".join(lines) + "\n\n" + table)
    assert NOTE not in html
    assert (html.count("<li>"), html.count("<td>")) == (250, 900)


@sqlite_alone
async def test_no_body_keeps_the_loop(scene: Scene) -> None:
    """For each place: the status it has, so that this test does not measure a refusal at the door."""
    bodies: list[tuple[str, str, str, dict[str, Any], set[int]]] = [
        ("editor", "POST", "~/findings", sent({"title": MARKS}), {400}),
        ("editor", "POST", "~/findings", sent({"title": "a", "text": MARKS[:LONGEST]}), {400}),
        ("editor", "POST", "~/findings", sent({"title": filled("a", BODY)}), {400}),
        ("editor", "POST", "~/findings", sent({f"key{n}": 1 for n in range(4_500)}), {400}),
        ("editor", "POST", "~/findings", sent(b"[" * BODY), {400}),
        ("editor", "POST", "~/findings", sent(b'{"a":' * 12_000), {400}),
        ("editor", "POST", "~/findings", sent(b'{"title":' + b"9" * 60_000 + b"}"), {400}),
        ("editor", "POST", "~/findings", sent(b'"' + b'\\"' * 31_000), {400}),
        ("editor", "POST", "~/checklist", sent({"section": MARKS, "title": "a"}), {400}),
        ("editor", "PATCH", "~", sent({"tagline": MARKS}), {400, 403}),
        ("admin", "POST", "/api/deals", sent({"name": MARKS}), {400}),
        ("admin", "POST", "/api/admin/invitations", sent({"email": "a@" + filled("a.", 60_000), "role": "member"}), {400}),
        ("editor", "PATCH", "/api/me", sent({"name": MARKS}), {400}),
        ("editor", "POST", "/api/me/password", sent({"current_password": "a", "new_password": MARKS}), {400}),
        ("nobody", "POST", "/api/auth/login", sent({"email": "a", "password": MARKS}), {400, 401}),
        ("nobody", "POST", "/api/auth/login", sent({"email": filled("a", BODY), "password": "a"}), {400, 401}),
        ("nobody", "POST", "/api/auth/login", sent({"email": "a@" + filled("\u00fc.", 1_200), "password": "a"}), {400, 401}),
        ("nobody", "POST", "/api/auth/login", sent({"email": "a@" + filled("\u00fc", 1_200), "password": "a"}), {400, 401}),
        ("admin", "POST", "/api/admin/invitations", sent({"email": "a@" + filled("\u0928\u200d", 300), "role": "member"}), {400}),
        ("admin", "POST", "/api/deals", sent({"name": "a", "homepage": filled("http://a, ", 30_000)}), {400}),
        ("editor", "PATCH", "~", sent({"tagline": "a"}) | {"headers": IF_MATCH}, {200}),
        ("editor", "POST", "/api/me/password", sent({"current_password": "a", "new_password": filled("qwertz1", 1_024)}), {400}),
        ("editor", "POST", "/api/me/password", sent({"current_password": "a", "new_password": filled("a", 1_023) + "b"}), {400}),
        ("admin", "POST", "/api/imports", {"data": filled('";,|\t', 400_000).encode(), "headers": {"Content-Type": "text/csv"}}, {400}),
        ("admin", "POST", "/api/imports", {"data": filled("a,b;c|", 400_000).encode(), "headers": {"Content-Type": "text/csv"}}, {413}),
        ("nobody", "POST", "/api/auth/login", sent({"email": "a@b.example", "password": filled("\ufdfa", 20_000)}), {400, 401}),
    ]
    stalls = {}
    for number, (who, method, path, options, statuses) in enumerate(bodies):
        with watched() as watch:
            status, body = await scene.call(who, method, path, **options)
        assert status in statuses, (number, path, body)
        assert len(str(body)) < 2 * BODY, "an answer is not longer than what it answers"
        stalls[number, path] = watch.longest
    assert {which: stall for which, stall in stalls.items() if stall > LIMIT_SECONDS} == {}


@sqlite_alone
async def test_no_form_query_or_header_keeps_the_loop(scene: Scene) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    parts = "".join(f'--x\r\nContent-Disposition: form-data; name="f{n}"\r\n\r\n\r\n' for n in range(2_000))
    asked: list[tuple[str, str, dict[str, Any], int | None]] = [
        ("POST", "/login", {"data": b"a&" * 60_000, "headers": form}, 413),
        ("POST", "/login", {"data": b"email=a&password=" + b"%CC%A7" * 15_000, "headers": form}, 401),
        ("POST", "/login", {"data": parts[:120_000].encode(), "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 413),
        ("GET", "/login?" + "a&" * 30_000, {}, 414),
        ("GET", "/api/deals?" + "a&" * 30_000, {}, 414),
        ("GET", "/api/deals?q=" + "%CC%81" * 600 + "%CC%A7" * 600, {}, 400),
        ("GET", "/api/deals?cursor=" + "A" * 8_000, {}, 400),
        ("GET", "/login", {"headers": {"Cookie": "a=b;" * 7_000}}, None),
        ("GET", "/login", {"headers": {"Cookie": "holdfast_auth=a.b.c;" * 1_500}}, None),
        ("GET", "/login", {"headers": {"Cookie": "holdfast_session=a.b.c;" * 1_300}}, None),
        ("GET", "/login", {"headers": {"Cookie": "holdfast_device=" + "a." * 15_000}}, None),
        ("GET", "/login", {"headers": {"X-Forwarded-For": "1.2.3.4, " * 3_500, "Forwarded": "for=a;" * 5_000}}, None),
        ("GET", "/login", {"headers": {"Accept": "a/b;q=0.1," * 2_500, "Accept-Language": "a;q=0.1," * 3_000}}, None),
        ("GET", "/api/deals?q=" + "%25_" * 45, {}, 200),
        ("GET", "/api/deals?q=" + "%5C" * 190, {}, 200),
        ("POST", "/login", {"data": b"-" * 120_000, "headers": {"Content-Type": "multipart/form-data; boundary=-"}}, None),
        ("POST", "/login", {"data": b"--a\r\n" * 20_000, "headers": {"Content-Type": "multipart/form-data; boundary=a"}}, None),
        ("POST", "/login", {"data": b"a=" + b"%" * 120_000, "headers": form}, None),
        ("GET", "/login", {"headers": {"Accept-Encoding": "a/b;q=0.1," * 2_500}}, None),
        ("GET", "/login", {"headers": {"User-Agent": "Windows " * 3_500}}, None),
        ("GET", "/static/favicon.svg", {"headers": {"If-None-Match": '"a",' * 7_000, "Range": "bytes=" + "1-2," * 5_000}}, None),
    ]
    client = await scene.client("viewer")
    for page in ("/login", "/nowhere"):  # compiles their templates
        await client.get(page)
    stalls = {}
    for number, (method, path, options, wanted) in enumerate(asked):
        with watched() as watch:
            status = (await client.open(path, method=method, **options)).status_code
        assert status == wanted or (wanted is None and status in (200, 303, 400, 401, 413, 416)), (number, path[:40], status)
        stalls[number, path[:20]] = watch.longest
    assert {which: stall for which, stall in stalls.items() if stall > LIMIT_SECONDS} == {}


@sqlite_alone
async def test_body_that_is_packed_is_not_unpacked(scene: Scene) -> None:
    bomb = gzip.compress(b'{"title": "' + b"a" * 40_000_000 + b'"}')
    for path, kind in (("~/findings", "application/json"), ("/api/imports", "text/csv")):
        headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
        with watched() as watch:
            status, problem = await scene.call("admin", "POST", path, data=bomb, headers=headers)
        assert status in (400, 415), problem
        assert watch.longest < LIMIT_SECONDS
