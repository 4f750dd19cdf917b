"""Answers that are text go out compressed to whoever takes it. Files are compressed once for each of their versions.

There is no secret in a page that an attacker could guess by its size: no token against cross-site requests, and what one
person typed is not shown beside what another one keeps. Streams pass through untouched.
"""

import gzip
from collections.abc import Awaitable

from quart import Request, Response
from quart.wrappers.response import DataBody

SMALLEST = 1000  # bytes; below it the headers weigh more than what is saved
# Pages are made anew each time; files once.
LEVEL_OF_PAGES, LEVEL_OF_FILES = 5, 9
MAX_FILES = 200
_TEXT = frozenset({"application/javascript", "application/json", "image/svg+xml", "text/css", "text/html", "text/javascript"})


class Compression:
    """Of one site."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, str], bytes] = {}

    def compress(self, request: Request, response: Response) -> Awaitable[None] | None:
        """After a request. Something to wait for only where the body has to be read or made smaller."""
        kind = response.headers.get("Content-Type", "").partition(";")[0]
        if kind not in _TEXT:
            return None
        if "Vary" in response.headers:
            response.vary.add("Accept-Encoding")
        else:
            response.headers["Vary"] = "Accept-Encoding"
        if response.status_code != 200 or request.method == "HEAD" or "Content-Encoding" in response.headers:
            return None
        body = response.response
        if isinstance(body, DataBody) and body.end - body.begin < SMALLEST:
            return None
        return self._compress(request, response) if request.accept_encodings["gzip"] else None

    async def _compress(self, request: Request, response: Response) -> None:
        is_file = request.endpoint == "static"
        etag, _ = response.get_etag()
        key = (request.path, etag or "")
        body = self._files.get(key) if is_file else None
        if body is None:
            plain = await response.get_data(as_text=False)
            if len(plain) < SMALLEST:
                return
            body = gzip.compress(plain, LEVEL_OF_FILES if is_file else LEVEL_OF_PAGES, mtime=0)
            if is_file and etag:
                if len(self._files) >= MAX_FILES:
                    self._files.clear()
                self._files[key] = body
        response.set_data(body)
        response.headers["Content-Encoding"] = "gzip"
        if etag:
            response.set_etag(etag, weak=True)  # the same content in other bytes
