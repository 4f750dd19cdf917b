"""A session layer under test: how its servers are started, or where they are."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

MANIFEST = Path(__file__).parent.parent / "adapters" / "layers.toml"


@dataclass(frozen=True)
class Layer:
    """`start` runs one server. In it and in `prepare`, {port}, {redis} and {dir} are filled in.

    `prepare` runs once, in an empty directory; each scenario's {dir} is a copy of that. `outside` has the scenarios whose promise
    the layer does not make, each with the reason.
    """

    name: str
    start: str = ""
    urls: tuple[str, ...] = ()
    prepare: str = ""
    servers: int = 2
    folder: Path = field(default_factory=Path.cwd)
    needs: str = ""
    versions: str = ""
    about: str = ""
    outside: dict[str, str] = field(default_factory=dict)
    # Whether the servers get the caller's environment. What is compared with others must not depend on it.
    inherits: bool = True


def load_layers(manifest: Path) -> list[Layer]:
    """A TOML file: a [[layer]] for each, and [outside.NAME] tables of scenarios and reasons, which a layer's `outside` names."""
    found = tomllib.loads(manifest.read_text())
    return [
        Layer(
            name=entry["name"],
            start=entry["start"],
            prepare=entry.get("prepare", ""),
            servers=entry.get("servers", 2),
            folder=manifest.parent / entry.get("folder", "."),
            needs=entry.get("needs", ""),
            versions=entry.get("versions", ""),
            about=entry.get("about", ""),
            outside=found["outside"][entry["outside"]] if "outside" in entry else {},
            inherits=False,
        )
        for entry in found["layer"]
    ]
