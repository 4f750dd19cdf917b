"""Markdown to HTML that is safe to show: no HTML passes through, no picture is fetched, links lead to the web or stay here."""

from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup

from app.root_path import at_root

_SCHEMES = ("http://", "https://", "mailto:")


def _may_link(url: str) -> bool:
    """A path of this site has one slash; two name another host, and so does a backslash."""
    lower = url.strip().lower()
    return lower.startswith(_SCHEMES) or (lower.startswith("/") and not lower.startswith("//") and "\\" not in lower)


class _Renderer(RendererHTML):
    def link_open(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        tokens[index].attrSet("href", at_root(str(tokens[index].attrGet("href") or "")))
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


def _make() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 20}, renderer_cls=_Renderer)
    markdown.enable(["table", "strikethrough"]).disable("image")
    markdown.validateLink = _may_link  # type: ignore[method-assign]
    return markdown


_MARKDOWN = _make()


def as_html(text: str) -> Markup:
    return Markup(_MARKDOWN.render(text))  # noqa: S704 (made by the renderer, in which no HTML of the text survives)
