"""The style sheets: a file for each component, one answer for the browser.

They are joined in the order below, with the layers they fill named first, so that which file comes before which decides little: what
is more particular is in a later layer. In production that is done once, at the start; where a developer saves a file, the next page
has it.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from quart import Quart, Response, current_app, request

SHEETS_FOLDER = Path(__file__).parents[1] / "static" / "css"
# What stands in for all of them, beside the files of app/static.
NAME = "holdfast.css"
LAYERS = ("reset", "base", "components", "modules", "utilities")
# Within a layer a later file wins where two are equally particular.
ORDER = (
    # reset
    "reset",
    # base
    "tokens",
    "base",
    # components
    "icon",
    "mark",
    "frame",
    "bar",
    "rail",
    "button",
    "avatar",
    "chip",
    "stage",
    "marks",
    "meter",
    "field",
    "input",
    "in-place",
    "switch",
    "segments",
    "menu",
    "item",
    "switcher",
    "notice",
    "toast",
    "dialog",
    "pager",
    "card",
    "empty",
    "actions",
    "rows",
    "place",
    "page-head",
    "crumb",
    "tabs",
    "tools",
    "columns",
    "facts",
    "line",
    "person",
    "prose",
    "diff",
    "message",
    "steps",
    # modules
    "door",
    "deals",
    "deal-head",
    "inbox",
    "settings",
    "findings",
    "sheet",
    "history",
    "checklist",
    "team",
    "board",
    "imports",
    "admin",
    "console",
    "console-table",
    "tile",
    "chart",
    # utilities
    "utilities",
)


@dataclass(frozen=True, slots=True)
class Joined:
    body: bytes
    digest: str
    changed_at: datetime

    @property
    def address(self) -> str:
        return f"/static/{NAME}?v={self.digest[:8]}"


class StyleSheets:
    """Joins the files of `folder` once; with `reload` again whenever one of them has changed."""

    def __init__(self, folder: Path = SHEETS_FOLDER, *, order: tuple[str, ...] = ORDER, reload: bool = False) -> None:
        self._files = [folder / f"{name}.css" for name in order]
        self._reload = reload
        self._seen: tuple[int, ...] = ()
        self._joined: Joined | None = None

    def joined(self) -> Joined:
        if self._joined is None or (self._reload and self._seen != self._times()):
            self._seen = self._times()
            text = f"@layer {', '.join(LAYERS)};\n" + "".join(shortened(file.read_text(encoding="utf-8")) for file in self._files)
            changed_at = datetime.fromtimestamp(max(self._seen) // 10**9, UTC)
            self._joined = Joined(text.encode(), sha256(text.encode()).hexdigest(), changed_at)
        return self._joined

    def _times(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns for file in self._files)


def shortened(text: str) -> str:
    """Without comments, and the white space that means nothing: a fifth of what goes over the wire. A text in quotes is on one line."""
    lines = (line.strip() for line in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).splitlines())
    return re.sub(r" ?([{};,])\n", r"\1", "\n".join(line for line in lines if line) + "\n")


def init_style_sheets(app: Quart, *, reload: bool) -> StyleSheets:
    """Serve them at their one address, with the headers that every static file has, and tell the templates where that is."""
    sheets = StyleSheets(reload=reload)
    if not reload:
        sheets.joined()

    async def static(filename: str) -> Response:
        if filename != NAME:
            return await current_app.send_static_file(filename)
        joined = sheets.joined()
        response = Response(joined.body, mimetype="text/css")
        response.last_modified = joined.changed_at
        kept = timedelta(seconds=current_app.get_send_file_max_age(filename) or 0)
        response.cache_control.public, response.cache_control.max_age = True, int(kept.total_seconds())
        response.expires = datetime.now(UTC) + kept
        response.set_etag(joined.digest)
        await response.make_conditional(request, accept_ranges=True, complete_length=len(joined.body))
        return response

    app.view_functions["static"] = static
    app.jinja_env.globals["style_sheet"] = lambda: sheets.joined().address
    return sheets
