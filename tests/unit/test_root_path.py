from collections.abc import Iterator

import pytest
from jinja2 import Environment

from app.core.root_path import AddressesAtRoot, at_root, clean_root_path, root_path, set_root_path


@pytest.fixture(params=["", "/holdfast"])
def root(request: pytest.FixtureRequest) -> Iterator[str]:
    before = root_path()
    set_root_path(request.param)
    yield request.param
    set_root_path(before)


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ('<a href="/deals">', '<a href="{root}/deals">'),
        ("<a href=\"/deals/{{ id }}?q={{ {'q': 1} }}\">", "<a href=\"{root}/deals/7?q={{'q': 1}}\">"),
        ('<a href="{{ path }}">', '<a href="{root}/own">'),
        ('<a href="{{ path }}/{{ id }}#a">', '<a href="{root}/own/7#a">'),
        ('<a href="{{- path if id else elsewhere -}}">', '<a href="{root}/own">'),
        ('<a href="{{ elsewhere }}">', '<a href="https://elsewhere.example/">'),
        ("<a href=\"{{ '//host/x' }}\">", '<a href="//host/x">'),
        ('<a href="#top"><a href="?q=1">', '<a href="#top"><a href="?q=1">'),
        ('<a href="//host/x">', '<a href="//host/x">'),
        ('<form action="/a"><button formaction="/b">', '<form action="{root}/a"><button formaction="{root}/b">'),
        (
            '<script src="{{ asset("x.js") }}" data-tabs="{{ asset("t.js") }}">',
            '<script src="{root}/static/x.js" data-tabs="{root}/static/t.js">',
        ),
        ('<p data-watch="{{ path }}" data-text="{{ path }}">', '<p data-watch="{root}/own" data-text="/own">'),
        ('<input name="next" value="/deals">', '<input name="next" value="/deals">'),
        ('{% set href="/deals" %}{% if href == "/deals" %}yes{% endif %}{# href="/x" #}', "yes"),
        ('{{ dict(a=1, href="/deals").href }}', "/deals"),
        ('<html data-root="{{ root }}">', '<html data-root="{root}">'),
        ('<a\n  href="/deals">', '<a\n  href="{root}/deals">'),
    ],
)
def test_addresses_in_templates_get_the_root_path(root: str, template: str, wanted: str) -> None:
    environment = Environment(autoescape=False, extensions=[AddressesAtRoot])
    values = {"id": 7, "path": "/own", "elsewhere": "https://elsewhere.example/", "asset": lambda name: f"/static/{name}"}
    assert environment.from_string(template).render(values) == wanted.replace("{root}", root).replace("{{", "{").replace("}}", "}")


def test_what_was_escaped_stays_escaped(root: str) -> None:
    environment = Environment(autoescape=True, extensions=[AddressesAtRoot])
    template = environment.from_string('<a href="{{ path }}">')
    assert template.render(path='/a"><script>') == f'<a href="{root}/a&#34;&gt;&lt;script&gt;">'


def test_an_address_of_another_host_stays_as_it_is(root: str) -> None:
    assert [at_root(each) for each in ("/", "//e", "https://e", "", "x", "?a")] == [f"{root}/", "//e", "https://e", "", "x", "?a"]


@pytest.mark.parametrize(
    ("text", "path"), [("", ""), ("/", ""), ("/holdfast", "/holdfast"), ("holdfast/", "/holdfast"), ("/a/b.c-d_e~f", "/a/b.c-d_e~f")]
)
def test_a_root_path(text: str, path: str) -> None:
    assert clean_root_path(text) == path


@pytest.mark.parametrize("text", ["/a//b", "/.", "/a/..", "/a b", "/ä", "/%41", "/a?b", "/a#b", '/"', "/a;b", "https://a", "/" + "a" * 300])
def test_what_is_no_root_path(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        clean_root_path(text)
