"""What a list inside a deal offers to choose from, and the addresses that keep the rest of its state."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from app.pages.kit.place import ALL

Options = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ListState:
    """`values` are the parameters of the address at `path`; empty stands for the default, which an address does not mention."""

    path: str
    values: dict[str, str]

    def url(self, **changes: str) -> str:
        """The address with `changes`, never that of the list as it was left. It begins at the first page unless it says otherwise."""
        wanted = {name: value for name, value in {**self.values, "cursor": "", **changes}.items() if value}
        return f"{self.path}?{urlencode(wanted) or ALL}"

    @property
    def everything(self) -> str:
        """The address of the list without filters."""
        return f"{self.path}?{ALL}"

    @property
    def query(self) -> str:
        """What is chosen, for a form that comes back here."""
        return urlencode({name: value for name, value in self.values.items() if value})

    def choice(self, name: str, label: str, options: Options) -> dict[str, Any]:
        """A menu: what is chosen, and the address of each alternative."""
        chosen = self.values[name]
        listed = [{"text": text, "address": self.url(**{name: value}), "is_chosen": value == chosen} for value, text in options]
        return {"name": name, "label": label, "text": dict(options).get(chosen, chosen), "options": listed}

    def head(self, column: str, *, ascending: bool = False) -> dict[str, str]:
        """The link of a column's head, and how the list is sorted by it now. `ascending`: its plain order goes upwards."""
        plain, turned = column, f"-{column}"
        now = self.values["sort"]
        up = (now == plain) == ascending
        return {
            "address": self.url(sort=turned if now == plain else plain),
            "order": "" if now not in (plain, turned) else "ascending" if up else "descending",
        }

    def is_filtered(self, *names: str) -> bool:
        return any(self.values[name] for name in names)
