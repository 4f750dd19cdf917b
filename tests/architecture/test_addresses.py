"""No address of the site is written so that it would miss the root path (root_path.py)."""

import re
from pathlib import Path

import pytest

from app.core.root_path import ATTRIBUTES

APP = Path(__file__).parents[2] / "app"
SCRIPTS = sorted((APP / "static/js").glob("*.js"))
TEMPLATES = sorted((APP / "templates").rglob("*.html"))
SHEETS = sorted((APP / "static").rglob("*.css"))

# A path in quotes. What follows `${root}` does not begin with a quote.
JS_PATH = re.compile(r"""["'`](/[A-Za-z$][^"'`\n]*)""")
# In a regular expression, a key of the keyboard, or cut out of what the browser says: no address.
JS_STORE = re.compile(
    r"""(?:BroadcastChannel|locks\.request)\(\s*([^),]+)|\b[A-Z_]*(?:PREFIX|TAB|OFF|SIGNED_OUT)\s*=\s*([^;]+)|^const key = ([^;]+)""", re.M
)
ATTRIBUTE = re.compile(r"""\s([\w:-]+)=(["'])(.*?)\2""", re.DOTALL)
# An address of the site among what is sent to it: it comes back without the root path, and stays so.
SENT = {"value"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_put_the_root_path_before_every_address(script: Path) -> None:
    text = re.sub(r"(?m)^\s*//.*$", "", script.read_text())
    assert JS_PATH.findall(text) == [], "write `${root}/…`, with root from document.documentElement.dataset"
    assert not re.search(r"location\.(pathname|href)(?!\.slice\(root\.length\)|\))", text), "take the root path off what the browser says"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_what_a_browser_keeps_is_kept_apart_for_each_root_path(script: Path) -> None:
    """Whoever has another path of this host has the same storage, channels and locks."""
    kept = [next(filter(None, found)) for found in JS_STORE.findall(script.read_text())]
    assert [name for name in kept if "holdfast" in name and "root" not in name] == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(APP / "templates")))
def test_templates_name_addresses_only_where_the_root_path_is_put_before_them(template: Path) -> None:
    text = re.sub(r"\{%.*?%\}|\{#.*?#\}", "", template.read_text(), flags=re.DOTALL)
    stray = [
        f'{name}="{value}"' for name, _, value in ATTRIBUTE.findall(text) if value.startswith("/") and name not in {*ATTRIBUTES, *SENT}
    ]
    assert stray == [], "add the attribute to root_path.ATTRIBUTES"
    assert not re.search(rf"\s({'|'.join(ATTRIBUTES)})='", text), "double quotes are what root_path.py looks for"
    assert not re.search(rf"""\s({"|".join(ATTRIBUTES)})="\{{%""", template.read_text()), "an address begins with a slash or an expression"


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda path: path.name)
def test_style_sheets_name_files_beside_them(sheet: Path) -> None:
    assert re.findall(r"url\([\"']?/[^)]*|@import\s+[\"']/", sheet.read_text()) == []


def test_python_makes_no_absolute_address_of_its_own() -> None:
    """`own_address` knows scheme, host, port and root path; a host's address made elsewhere would miss one of them."""
    makers = {
        str(path.relative_to(APP))
        for path in APP.rglob("*.py")
        if re.search(r"\b(host_url|url_root|base_url|root_url)\b", path.read_text())
    }
    assert makers == {"http/security_headers.py"}
