"""The path of the site below its host: empty, or like /holdfast where it shares the host with others.

Inside, every address is the site's own: /deals/7. The root path is put before it where an address leaves: in the attributes of
the templates (when a template is compiled, so nobody can forget it), in `Location` (factory.py), and in cookies (cookies.py). Scripts read
it from <html data-root>. An address never carries it twice, because nothing that comes in keeps it: Quart takes it off the path.
"""

import re
from contextvars import ContextVar
from typing import Any

from jinja2 import Environment
from jinja2.ext import Extension
from markupsafe import Markup

LONGEST = 200
_RULE = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_ROOT: ContextVar[str] = ContextVar("root_path", default="")

# The attributes that hold an address; those of scripts' own among them.
ATTRIBUTES = ("href", "action", "formaction", "src", "data-events", "data-progress", "data-select", "data-watch")
_TAG_OR_ADDRESS = re.compile(
    r"(?P<tag>\{%.*?%\}|\{#.*?#\})"
    r'|(?P<asset>="(?=\{\{\s*asset\())'  # in whatever attribute: how scripts find each other
    rf'|(?P<attribute>\s(?:{"|".join(ATTRIBUTES)})=")(?:(?P<literal>/(?!/))|\{{\{{-?(?P<expression>.*?)-?\}}\}})'
    r"|(?P<other>\{\{.*?\}\})",
    re.DOTALL,
)


def root_path() -> str:
    return _ROOT.get()


def set_root_path(root: str) -> None:
    """For the request of this task, and whatever it starts."""
    _ROOT.set(root)


def at_root(address: str) -> str:
    """An address of the site as the browser has to ask for it; any other one as it is."""
    return below(_ROOT.get(), address)


def below(root: str, address: str) -> str:
    """`at_root` for a root path of the caller's: where an answer is kept for others, or made in another thread."""
    return f"{root}{address}" if root and address[:1] == "/" and address[1:2] != "/" else address


def clean_root_path(text: str) -> str:
    """`text` with one slash before and none behind. Raises ValueError for what is no plain path."""
    path = "/" + text.strip("/") if text.strip("/") else ""
    if path and (len(path) > LONGEST or not _RULE.fullmatch(path) or {".", ".."} & set(path.split("/"))):
        raise ValueError("no path")
    return path


class _Root:
    """`{{ root }}`: that of the request at hand, also in macros that are imported without a context."""

    def __html__(self) -> str:
        return _ROOT.get()

    __str__ = __html__


class AddressesAtRoot(Extension):
    """Puts the root path before every address of the site that stands in an attribute of a template."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.globals["root"] = _Root()
        environment.filters["at_root"] = _address

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return _TAG_OR_ADDRESS.sub(_rewrite, source)


def _rewrite(found: re.Match[str]) -> str:
    if found["asset"]:
        return f"{found['asset']}{{{{ root }}}}"
    if found["literal"]:
        return f"{found['attribute']}{{{{ root }}}}/"
    if found["expression"] is None:
        return found[0]
    if found["expression"].lstrip().startswith("asset("):  # always the site's own
        return f"{found['attribute']}{{{{ root }}}}{{{{{found['expression']}}}}}"
    return f"{found['attribute']}{{{{ ({found['expression']}) | at_root }}}}"


def _address(value: Any) -> Any:
    address = at_root(str(value))
    return Markup(address) if hasattr(value, "__html__") else address  # noqa: S704 (it was markup before)
