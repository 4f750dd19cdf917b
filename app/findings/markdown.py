"""Markdown to HTML that is safe to show: no HTML passes through, no picture is fetched, links lead to the web or stay here.

Rendering may cost far more than the text's size suggests. Each text has a budget; one that exceeds it, or is nested too deeply,
is shown as it was typed.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import Markup, escape

from app.core.root_path import below, root_path

# Tokens begun, tried ones included: 8 000 take some 0.15 s of a core, and 20 000 characters of prose hundreds.
MAX_STEPS = 8_000
# Cells a table is given, by its author or to fill up its rows: a few short lines can ask for half a million.
MAX_CELLS = 4_000
MAX_NESTING = 20
# Below the parser's own limit, where it drops the rest of the text: a list opens two levels.
MAX_BLOCK_NESTING = MAX_NESTING - 3
# Rendering these is faster than handing them to a thread.
SHORT = 300
NOTE = "Shown as it was typed: this text is too involved to lay out."

_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="markdown")

_SCHEMES = ("http://", "https://", "mailto:")


def _may_link(url: str) -> bool:
    """A path of this site has one slash; two name another host, and so does a backslash."""
    lower = url.strip().lower()
    return lower.startswith(_SCHEMES) or (lower.startswith("/") and not lower.startswith("//") and "\\" not in lower)


class _Renderer(RendererHTML):
    def link_open(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        tokens[index].attrSet("href", below(env["root"], str(tokens[index].attrGet("href") or "")))
        tokens[index].attrSet("rel", "noopener noreferrer nofollow")
        return self.renderToken(tokens, index, options, env)

    def th_open(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        """Columns are aligned by a class: the content policy allows no style in the markup."""
        style = tokens[index].attrs.pop("style", "")
        if style == "text-align:right":
            tokens[index].attrSet("class", "number")
        return self.renderToken(tokens, index, options, env)

    td_open = th_open

    def heading_open(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        """All headings are of one level: whatever a text begins with, the page's outline has no gap."""
        return f'<h3 class="{tokens[index].tag}">'

    def heading_close(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return "</h3>\n"


class TooInvolved(Exception):
    """The budget of a text is spent."""


def _spend(env: Any, name: str, amount: int, limit: int) -> None:
    env[name] = env.get(name, 0) + amount
    if env[name] > limit:
        raise TooInvolved


def _count_inline(state: StateInline, silent: bool) -> bool:
    """A rule that never matches, asked before all others."""
    _spend(state.env, "steps", 1, MAX_STEPS)
    return False


def _count_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if state.level > MAX_BLOCK_NESTING:
        raise TooInvolved
    _spend(state.env, "steps", 1, MAX_STEPS)
    return False


def _count_cells(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """The library's own rule for tables, after what it may make is paid for: its columns on each line up to an empty one."""
    if silent or not table(state, start, end, True):
        return silent and table(state, start, end, True)
    rows = next((line for line in range(start, end) if state.isEmpty(line)), end) - start
    columns = state.src.count("|", state.bMarks[start], state.eMarks[start]) + 1
    _spend(state.env, "cells", rows * columns, MAX_CELLS)
    return table(state, start, end, silent)


def _make() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": MAX_NESTING}, renderer_cls=_Renderer)
    markdown.enable(["table", "strikethrough"]).disable("image")
    markdown.block.ruler.at("table", _count_cells, {"alt": ["paragraph", "reference"]})
    markdown.block.ruler.before("table", "budget", _count_block)
    markdown.inline.ruler.before("text", "budget", _count_inline)
    markdown.validateLink = _may_link  # type: ignore[method-assign]
    return markdown


_MARKDOWN = _make()


async def render_markdown(text: str) -> Markup:
    """`as_html` in a thread, so that the event loop stays free."""
    if len(text) <= SHORT:
        return as_html(text)
    return await asyncio.get_running_loop().run_in_executor(_threads, lay_out, text, root_path())


def as_html(text: str) -> Markup:
    return lay_out(text, root_path())


@lru_cache(maxsize=128)
def lay_out(text: str, root: str) -> Markup:
    try:
        return Markup(_MARKDOWN.render(text, {"root": root}))  # noqa: S704 (made by the renderer, in which no HTML of the text survives)
    except TooInvolved:
        return _as_typed(text)


def _as_typed(text: str) -> Markup:
    lines = Markup("<br />\n").join(escape(line) for line in text.splitlines())
    return Markup("<p><em>{}</em></p>\n<p>{}</p>\n").format(NOTE, lines)
