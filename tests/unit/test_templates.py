"""What templates make of values: the same text as Jinja's own, and kept macros that say the same as others."""

from typing import Any

import pytest
from jinja2 import Environment as JinjaEnvironment
from markupsafe import Markup

from app.core.root_path import set_root_path
from app.http.app import HoldfastApp


class Subclass(str):
    """Such as an enum's value."""


class WithMarkup:
    def __repr__(self) -> str:
        return "with markup"

    def __html__(self) -> str:
        return "<b>bold</b>"


@pytest.mark.parametrize(
    "value",
    [*"&<>'\"", "plain", "a<b", "", 7, None, True, 1.5, ["<"], Subclass("<i>"), Markup("<i>"), WithMarkup(), Markup("<i>") + "<"],
    ids=repr,
)
async def test_value_is_escaped_as_by_jinja_itself(value: Any) -> None:
    source = (
        "{{ value }}|{{ missing }}|{% set block %}{{ value }}{% endset %}{{ block }}|{% macro m(x) %}{{ x }}{{ caller() }}{% endmacro %}"
        "{% call m(value) %}{{ value }}{% endcall %}|{{ value ~ '<' }}|{{ value | string | upper }}|{{ value | safe }}"
    )
    app = HoldfastApp(__name__)
    assert app.jinja_env.from_string(source).render(value=value) == JinjaEnvironment(autoescape=True).from_string(source).render(
        value=value
    )


async def test_memoized_macro_keeps_types_and_root_paths_apart() -> None:
    app = HoldfastApp(__name__)
    app.jinja_env.globals["calls"] = calls = iter("abcdef")
    app.jinja_env.globals["next"] = lambda: next(calls)
    macro = "{% macro show(x) %}{{ next() }}{{ x }}{% endmacro %}{% set show = show | memoized %}"
    text = macro + "{{ show('<') }} {{ show('<') }} {{ show('<' | safe) }} {{ show(1) }} {{ show(true) }}"
    assert app.jinja_env.from_string(text).render() == "a&lt; a&lt; b< c1 dTrue"
    module: Any = app.jinja_env.from_string(macro).module
    shown = [module.show("x"), module.show("x")]
    set_root_path("/below")
    assert [*shown, module.show("x")] == ["ex", "ex", "fx"]
