"""The standard checklists one may start from; their text is in standard.toml."""

import tomllib
from pathlib import Path
from typing import NamedTuple


class Template(NamedTuple):
    """`items` are pairs of section and title, in order."""

    code: str
    name: str
    about: str
    items: tuple[tuple[str, str], ...]


def load_templates(path: Path) -> dict[str, Template]:
    with path.open("rb") as file:
        lists = tomllib.load(file)
    return {code: _template(code, each["name"], each["about"], each["sections"]) for code, each in lists.items()}


def _template(code: str, name: str, about: str, sections: dict[str, list[str]]) -> Template:
    return Template(code, name, about, tuple((section, title) for section, titles in sections.items() for title in titles))


TEMPLATES = load_templates(Path(__file__).with_name("standard.toml"))
