"""The answer to a request that is not let in (`app/server/overload.py`), ready-made: it must cost next to nothing."""

import itertools
from collections.abc import Iterator

from app.http.style_sheets import StyleSheets

Answer = tuple[list[tuple[bytes, bytes]], bytes]
_CODE, _TITLE = "too_busy", "Too many requests at the moment"
_DETAIL = "More is asked for than this server can answer. Nothing is lost; try again in a moment."


class BusyAnswers:
    def __init__(self, sheets: StyleSheets) -> None:
        self._sheets = sheets
        # Not all of them come back in the same second.
        self._seconds: Iterator[int] = itertools.cycle((1, 2, 3))

    def make(self, path: str, root: str) -> Answer:
        """Its headers, beside those of every answer, and its body."""
        seconds = next(self._seconds)
        if path.startswith("/api/"):
            kind = b"application/problem+json"
            body = f'{{"type":"about:blank","title":"{_TITLE}","status":503,"detail":"{_DETAIL}","code":"{_CODE}"}}'
        else:
            kind = b"text/html; charset=utf-8"
            body = _PAGE.format(seconds=seconds, sheet=f"{root}{self._sheets.joined().address}", title=_TITLE)
        sent = body.encode()
        length = str(len(sent)).encode()
        headers = [(b"content-type", kind), (b"content-length", length), (b"retry-after", str(seconds).encode())]
        return [*headers, (b"cache-control", b"no-store")], sent


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title} · Holdfast</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="{seconds}">
<link rel="stylesheet" href="{sheet}">
</head>
<body>
<main class="main" id="main"><div class="message">
<h1>{title}</h1>
<p role="status">Your place and your sign-in are kept. This page tries again by itself.</p>
<p class="request">Error 503</p>
</div></main>
</body>
</html>
"""
