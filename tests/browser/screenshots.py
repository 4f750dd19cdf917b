"""A picture of every page and state, and what two sets of them differ in: `python -m tests.browser.screenshots OUT`, later
`python -m tests.browser.screenshots --compare BEFORE AFTER [DIFFERENCES]`.

At 360, 768 and 1440 px, light and dark, on paper, and without a script. The data is that of `seed-demo`; what is random, or as old
as this run, is replaced before a picture is taken: two runs of the same code on one day give the same pixels.
`--only EXPRESSION` takes the states it is found in the name of. `--styles` writes down beside each picture what the browser computed
for every element, and `--compare` then says which element and which property.
"""

import argparse
import asyncio
import base64
import gzip
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import click
from playwright.async_api import Browser, BrowserContext, Error, Page, Route

from app.core.database import Database
from app.core.migrate import upgrade
from tests.browser.looks import PASSWORD, STATES, State, prepare
from tests.servers import leash
from tests.servers.blocking import blocking
from tests.servers.chromium import MISSING, find_chromium, running_browser
from tests.servers.process import held_directory
from tests.servers.web import ROOT, WebServer

# A loaded machine may take its time.
TIMEOUT_MS = 60_000
WIDTHS = {360: 740, 768: 1024, 1440: 900}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

_WHOLE: dict[str, Any] = {"full_page": True, "animations": "disabled", "caret": "hide"}

# Random, or of this machine. Digits of the console are counts and times of this very run.
_MASK = """() => {
  for (const each of document.querySelectorAll(".request code, .link-line .input")) each.textContent = each.value = "0000";
  for (const each of document.querySelectorAll("time[datetime*=T]")) {
    if (!/just now|second|minute|moment/.test(each.textContent)) continue;
    each.textContent = "just now";
    each.title = "now";
  }
  for (const each of document.querySelectorAll(".notice-text"))
    each.innerHTML = each.innerHTML.replace(/where you left off .*\\./, "where you left off just now.");
  for (const each of document.querySelectorAll("[data-brief]")) each.hidden = true;
  for (const each of document.querySelectorAll("[data-watch]")) {
    each.dataset.state = "live";
    each.querySelector("[data-watch-text]").textContent = "Live";
  }
  for (const each of document.querySelectorAll(".bell-count")) each.hidden = true;
  const ops = document.querySelector(".ops");
  if (!ops) return;
  const walk = document.createTreeWalker(ops, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) if (/\\d/.test(walk.currentNode.data)) walk.currentNode.data = walk.currentNode.data.replace(/[\\d.,]*\\d/g, "0");
  for (const each of ops.querySelectorAll("code")) each.textContent = "code";
  for (const each of ops.querySelectorAll(".plot rect, .plot line")) each.setAttribute("height", "8");
  for (const each of ops.querySelectorAll(".plot rect")) each.setAttribute("width", "10%");
  for (const each of ops.querySelectorAll(".plot-path")) each.setAttribute("d", "M0 8H1000");
}"""

# Until nothing more was loaded for a while. A stream, even one that was refused, would keep the browser's own "networkidle" waiting.
_QUIET = """async () => {
  const loaded = () => performance.getEntriesByType("resource").length;
  for (let before = -1; before !== loaded(); before = loaded()) await new Promise((done) => setTimeout(done, 400));
}"""

_STYLES = """() => [...document.querySelectorAll("*")].filter((each) => !each.closest("head, template, noscript")).flatMap((each) => {
  const path = [];
  for (let at = each; at && at !== document.documentElement; at = at.parentElement)
    path.unshift(`${at.localName}:${[...at.parentElement.children].indexOf(at)}`);
  const skipped = /^(width|height|inline-size|block-size|perspective-origin|transform-origin|-webkit-|--)/;
  return ["", "::before", "::after", "::placeholder"].map((pseudo) => {
    const style = getComputedStyle(each, pseudo);
    if (pseudo && (pseudo === "::placeholder" ? !("placeholder" in each) : style.content === "none")) return null;
    return [path.join(" ") + pseudo, each.getAttribute("class") ?? "",
      [...style].filter((name) => !skipped.test(name)).map((name) => `${name}: ${style.getPropertyValue(name)}`).join("; ")];
  }).filter(Boolean);
})"""


# The renderer rounds the edges of a shape one way or the other: by so many of 255 two pictures of the same page may differ.
_ROUNDING = 2
_DIFFERENCE = """async ([one, other, rounding]) => {
  const [a, b] = await Promise.all([one, other].map(async (data) =>
    createImageBitmap(await (await fetch(`data:image/png;base64,${data}`)).blob())));
  const size = [Math.max(a.width, b.width), Math.max(a.height, b.height)];
  const sheet = new OffscreenCanvas(size[0] * 3, size[1]).getContext("2d", { willReadFrequently: true });
  sheet.drawImage(a, 0, 0);
  sheet.drawImage(b, size[0], 0);
  const [x, y] = [sheet.getImageData(0, 0, ...size), sheet.getImageData(size[0], 0, ...size)];
  let box = null, count = 0;
  for (let at = 0; at < x.data.length; at += 4) {
    const same = [0, 1, 2, 3].every((each) => Math.abs(x.data[at + each] - y.data[at + each]) <= rounding);
    if (!same) {
      const [left, top] = [(at / 4) % size[0], Math.floor(at / 4 / size[0])];
      box = box ? [Math.min(box[0], left), Math.min(box[1], top), Math.max(box[2], left), Math.max(box[3], top)] : [left, top, left, top];
      count += 1;
    }
    x.data.set(same ? [255, 255, 255, 255] : [255, 0, 0, 255], at);
  }
  if (!count) return { words: "", picture: "" };
  sheet.putImageData(x, size[0] * 2, 0);
  const reader = new FileReader();
  const read = new Promise((done) => (reader.onload = () => done(reader.result)));
  reader.readAsDataURL(await sheet.canvas.convertToBlob());
  const sizes = a.width === b.width && a.height === b.height ? "" : `, ${a.width}×${a.height} became ${b.width}×${b.height}`;
  return { words: `${count} pixels within ${box}${sizes}`, picture: await read };
}"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description=__doc__)
    parser.add_argument("out", type=Path, nargs="?", help="an empty directory for the pictures")
    parser.add_argument("--only", default="", metavar="EXPRESSION")
    parser.add_argument("--part", default="1/1", metavar="1/4", help="a quarter of the states, at a site of its own")
    parser.add_argument("--styles", action="store_true")
    parser.add_argument("--compare", type=Path, nargs="+", metavar="SET", help="before, after, and where to put the differences")
    given = parser.parse_args()
    if given.compare:
        for each in given.compare[2:]:
            each.mkdir(parents=True, exist_ok=True)
        sys.exit(asyncio.run(compare(*given.compare)))
    if given.out is None:
        parser.error("say where the pictures go")
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        failed = asyncio.run(take_all(given.out, _chosen(given.only, given.part), styles=given.styles))
    finally:
        leash.let_go()
    sys.exit(f"Not taken: {', '.join(failed)}" if failed else 0)


def _chosen(only: str, part: str) -> list[State]:
    states = [state for state in STATES if re.search(only, state.name)]
    number, parts = map(int, part.split("/"))
    return states[len(states) * (number - 1) // parts : len(states) * number // parts]


async def take_all(out: Path, every: list[State], *, styles: bool) -> list[str]:
    failed: list[str] = []
    executable = find_chromium()
    if executable is None:
        sys.exit(MISSING)
    async with running_site() as (site, spots), running_browser(executable) as browser:
        for who in dict.fromkeys(state.who for state in every):
            chosen = [state for state in every if state.who == who]
            for scripted in (True, False):
                states = [state for state in chosen if state.scripted is scripted]
                if states:
                    failed += await _take_as(browser, site, spots, who, states, out, styles=styles)
    return failed


@asynccontextmanager
async def running_site() -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Its address, and the ids of what the states are about."""
    directory = held_directory("looks")
    url = f"sqlite+aiosqlite:///{directory / 'looks.db'}"
    environ = {
        "DATABASE_URL": url,
        "REDIS_URL": "",
        "DATABASE_TIMEOUT_SECONDS": "60",
        "SECRET_KEY": "only-for-tests-" * 3,
        "PASSWORD_TIME_COST": "1",
        "PASSWORD_MEMORY_KIB": "8",
        **{f"RATE_LIMIT_{name}": "0" for name in ("SELECT", "LIST", "WRITE", "EXPORT", "RUN", "LOGIN")},
    }
    blocking(upgrade, url)
    command = [sys.executable, "-m", "app", "seed-demo"]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, cwd=directory, env=kept | environ)  # noqa: ASYNC221 (before anything else runs)
    database = Database(url, name="holdfast-looks")
    spots = await prepare(database, datetime.now(UTC))
    await database.close()
    server = WebServer(environ)
    server.start()
    await server.wait_until_ready()
    try:
        yield server.url, spots
    finally:
        server.remove()


async def _take_as(
    browser: Browser, site: str, spots: dict[str, Any], who: str, states: list[State], out: Path, *, styles: bool
) -> list[str]:
    """Returns those that could not be had."""
    failed: list[str] = []
    context = await _context(browser, scripted=states[0].scripted)
    page = await context.new_page()
    if who:
        await page.goto(f"{site}/login")
        await page.fill("#email", who)
        await page.fill("#password", PASSWORD)
        await page.click("main button.button-wide")
        await page.wait_for_url(lambda url: "/login" not in url, timeout=3 * TIMEOUT_MS)
    for state in states:
        began = time.monotonic()
        await page.set_viewport_size({"width": 1440, "height": 900})
        await page.emulate_media(media="screen", color_scheme="light", reduced_motion="reduce")
        try:
            await page.goto(site + state.address.format(**spots))
            if state.act is not None:
                await state.act(page)
            await _settle(page, scripted=state.scripted)
            await _take(page, state, out, styles=styles)
        except Error as error:
            failed.append(state.name)
            click.echo(f"{state.name}, at {page.url}: {error}", err=True)
        click.echo(f"{time.monotonic() - began:6.1f} s  {state.name}")
    await context.close()
    return failed


async def _context(browser: Browser, *, scripted: bool) -> BrowserContext:
    context = await browser.new_context(reduced_motion="reduce", java_script_enabled=scripted, locale="en-GB", timezone_id="UTC")
    context.set_default_timeout(TIMEOUT_MS)

    async def without_streams(route: Route) -> None:
        # What comes by a stream comes when it comes.
        if route.request.resource_type == "eventsource":
            await route.fulfill(status=204)
        else:
            await route.continue_()

    await context.route("**/*", without_streams)
    return context


async def _settle(page: Page, *, scripted: bool) -> None:
    await page.wait_for_load_state("load")
    if scripted:
        await page.evaluate(_QUIET)
        await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    await page.evaluate(_MASK)


async def _take(page: Page, state: State, out: Path, *, styles: bool) -> None:
    for width in state.widths or WIDTHS:
        await page.set_viewport_size({"width": width, "height": WIDTHS[width]})
        for scheme in SCHEMES:
            await page.emulate_media(media="screen", color_scheme=scheme)
            await _picture(page, out / f"{state.name} {width} {scheme}", styles=styles and scheme == "light" and width == 1440)
    if state.printed:
        await page.set_viewport_size({"width": 768, "height": 1024})
        await page.emulate_media(media="print", color_scheme="dark")
        await _picture(page, out / f"{state.name} print", styles=False)


async def _picture(page: Page, path: Path, *, styles: bool) -> None:
    # A loaded machine leaves parts of a long page blank at first.
    before, now = b"", await page.screenshot(**_WHOLE)
    while now != before:
        before, now = now, await page.screenshot(**_WHOLE)
    await asyncio.to_thread(Path(f"{path}.png").write_bytes, now)
    if styles:
        found = gzip.compress(json.dumps(await page.evaluate(_STYLES)).encode(), 3)
        await asyncio.to_thread(Path(f"{path}.styles").write_bytes, found)


async def compare(before: Path, after: Path, differences: Path | None = None) -> int:
    """Say what differs; 1 if anything does. A picture of each goes into `differences`: before, after, and where, beside each other."""
    names = {each: {path.stem for path in each.glob("*.png")} for each in (before, after)}
    everything = sorted(names[before] | names[after])
    differing = 0
    async with running_browser(find_chromium() or sys.exit(MISSING)) as browser:
        page = await browser.new_page()
        for name in everything:
            if name not in names[before] & names[after]:
                found = f"only in {before if name in names[before] else after}"
            else:
                found = await _difference(page, name, before, after, differences)
            if found:
                differing += 1
                click.echo(f"{name}: {found}")
            click.echo("".join(_differing_styles(name, before, after)), nl=False)
    click.echo(f"{differing} of {len(everything)} pictures differ.")
    return min(differing, 1)


async def _difference(page: Page, name: str, before: Path, after: Path, differences: Path | None) -> str:
    one, other = ((each / f"{name}.png").read_bytes() for each in (before, after))
    if one == other:
        return ""
    found = await page.evaluate(_DIFFERENCE, [*(base64.b64encode(each).decode() for each in (one, other)), _ROUNDING])
    if differences is not None and found["picture"]:
        picture = base64.b64decode(found["picture"].split(",")[1])
        await asyncio.to_thread((differences / f"{name}.png").write_bytes, picture)
    return str(found["words"])


def _differing_styles(name: str, before: Path, after: Path) -> Iterator[str]:
    files = [each / f"{name}.styles" for each in (before, after)]
    if not all(file.exists() for file in files):
        return
    one, other = ({path: (classes, style) for path, classes, style in json.loads(gzip.decompress(file.read_bytes()))} for file in files)
    yield from (f"  {name}: only in one: {path}\n" for path in one.keys() ^ other.keys())
    for path in one.keys() & other.keys():
        (classes, was), (_, now) = one[path], other[path]
        if was != now:
            pairs = zip(was.split("; "), now.split("; "), strict=False)
            changes = ", ".join(f"{a} → {b.split(': ')[-1]}" for a, b in pairs if a != b)
            yield f"  {name}: {path.split()[-1]} .{classes}: {changes}\n"


if __name__ == "__main__":
    main()
