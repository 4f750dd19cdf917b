"""Everything a site's pages lead to, followed: links, forms, scripts, sheets, pictures, streams, redirects. Forms are not sent."""

import re
from collections import deque
from collections.abc import Awaitable, Callable
from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import urldefrag, urljoin, urlsplit

ADDRESSES = {"href", "src", "action", "formaction", "poster", "data-events", "data-progress", "data-select", "data-watch"}
MAX_OF_A_KIND = 3


class Answer(NamedTuple):
    status: int
    location: str
    content_type: str
    text: str


class Found(NamedTuple):
    # What was asked for, with its answer's status.
    seen: dict[str, int]
    problems: list[str]


# By method and path.
Ask = Callable[[str, str], Awaitable[Answer]]


class _Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.followed: list[str] = []
        self.acts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        for name, value in named.items():
            if name in ADDRESSES or (name.startswith("data-") and "/static/" in value):
                is_act = name == "formaction" or (name == "action" and named.get("method") == "post") or name in ("data-select",)
                (self.acts if is_act else self.followed).append(value)


async def crawl(ask: Ask, start: str, *, inside: str) -> Found:
    """From `start`, a path, on. `inside` is what every address of the site has to begin with."""
    seen: dict[str, int] = {}
    problems: list[str] = []
    kinds: dict[str, int] = {}
    waiting = deque([(start, "the start", False)])
    while waiting:
        address, page, is_act = waiting.popleft()
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue  # elsewhere; links of ours name no host
        path = urldefrag(address).url
        if not (path == inside or path.startswith((f"{inside}/", f"{inside}?"))) or path.startswith(
            f"{inside}{inside}" if inside else "//"
        ):
            problems.append(f"{page} leads to {address}")
            continue
        kind = re.sub(r"\d+", "1", path.partition("?")[0]) + ("?" if "?" in path and "/static/" not in path else "")
        if path in seen or kinds.get(kind, 0) >= MAX_OF_A_KIND:
            continue
        kinds[kind] = kinds.get(kind, 0) + 1
        answer = await ask("OPTIONS" if is_act else "GET", path)
        seen[path] = answer.status
        if answer.status >= 400:
            problems.append(f"{page} leads to {address}: {answer.status}")
        if answer.location:
            waiting.append((urljoin(path, answer.location), f"the redirect of {path}", False))
        if answer.content_type.startswith("text/html"):
            parser = _Addresses()
            parser.feed(answer.text)
            waiting += [(urljoin(path, each), path, False) for each in parser.followed]
            waiting += [(urljoin(path, each), path, True) for each in parser.acts]
        elif answer.content_type.startswith("text/css"):
            waiting += [(urljoin(path, each), path, False) for each in re.findall(r"url\([\"']?([^)\"']+)", answer.text)]
    return Found(seen, problems)
