"""Markdown of people becomes HTML that can do nothing but be read."""

import re

import pytest

from app.core.root_path import set_root_path
from app.findings.markdown import SHORT, as_html, render_markdown

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](\tjavascript:alert(1))",
    "[a](&#106;avascript:alert(1))",
    "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "[a](vbscript:msgbox)",
    "[a](//evil.example)",
    "[a](/\\evil.example)",
    "<javascript:alert(1)>",
    "![a](https://evil.example/pixel.png)",
    '[a](https://a.example/" onmouseover="alert(1))',
    "[a]: javascript:alert(1)\n\n[a]",
    "|a|\n|:-:|\n|<b style=x>|",
    "<style>*{display:none}</style>",
    "```html\n<script>alert(1)</script>\n```",
    "[x" * 200 + "](" * 200,
    "> " * 500 + "deep",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_text_runs_or_is_fetched(text: str) -> None:
    html = str(as_html(text))
    tags = re.findall(r"<(/?[a-z0-9]+)([^<>]*)>", html)
    assert {name.strip("/") for name, _ in tags} <= {
        *("p", "a", "em", "strong", "code", "pre", "ul", "ol", "li", "blockquote", "table", "thead", "tbody", "tr", "th", "td", "br", "h3"),
    }
    for name, attributes in tags:
        assert not re.search(r"\s(on\w+|style|src)\s*=", attributes.replace("&quot;", "")), (name, attributes)
        for address in re.findall(r'href="([^"]*)"', attributes):
            assert re.match(r"(https?://|mailto:|/(?!/))", address), address


def test_what_people_write_looks_as_they_meant() -> None:
    html = as_html("# Risk\n\n**37** claims, see [the docket](https://docket.example/1)\nand ~~none~~\n\n|a|b|\n|--|--:|\n|1|2|")
    assert '<h3 class="h1">Risk</h3>' in html
    assert "<strong>37</strong>" in html
    assert '<a href="https://docket.example/1" rel="noopener noreferrer nofollow">the docket</a><br />' in html
    assert '<td class="number">2</td>' in html


@pytest.mark.parametrize("more", ["", " and more" * SHORT], ids=["short", "laid out in a thread"])
async def test_link_to_the_site_leads_below_the_root_path_of_who_reads(more: str) -> None:
    """What was laid out for one visitor is kept; whoever comes by another way must not be sent along the first one's."""
    text = f"see [the deal](/deals/7) and [the docket](https://docket.example/1){more}"
    for root in ("/first", "/second", ""):
        set_root_path(root)
        html = str(await render_markdown(text))
        assert re.findall(r'href="([^"]*)"', html) == [f"{root}/deals/7", "https://docket.example/1"]
