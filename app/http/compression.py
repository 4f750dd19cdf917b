"""Answers that are text go out compressed to whoever takes it. Files are compressed once for each of their versions.

There is no secret in a page that an attacker could guess by its size: no token against cross-site requests, and what one
person typed is not shown beside what another one keeps. Streams pass through untouched.
"""

import gzip

from quart import Quart, Response, request

SMALLEST = 1000  # bytes; below it the headers weigh more than what is saved
# Pages are made anew each time; files once.
LEVEL_OF_PAGES, LEVEL_OF_FILES = 5, 9
MAX_FILES = 200
_TEXT = frozenset({"application/javascript", "application/json", "image/svg+xml", "text/css", "text/html", "text/javascript"})


def init_compression(app: Quart) -> None:
    files: dict[tuple[str, str], bytes] = {}

    @app.after_request
    async def compress(response: Response) -> Response:
        if response.mimetype not in _TEXT:
            return response
        response.vary.add("Accept-Encoding")
        if response.status_code != 200 or request.method == "HEAD" or "Content-Encoding" in response.headers:
            return response
        if not request.accept_encodings["gzip"]:
            return response
        is_file = request.endpoint == "static"
        etag, _ = response.get_etag()
        key = (request.path, etag or "")
        body = files.get(key) if is_file else None
        if body is None:
            plain = await response.get_data(as_text=False)
            if len(plain) < SMALLEST:
                return response
            body = gzip.compress(plain, LEVEL_OF_FILES if is_file else LEVEL_OF_PAGES, mtime=0)
            if is_file and etag:
                if len(files) >= MAX_FILES:
                    files.clear()
                files[key] = body
        response.set_data(body)
        response.headers["Content-Encoding"] = "gzip"
        if etag:
            response.set_etag(etag, weak=True)  # the same content in other bytes
        return response
