"""JSON at rest: what another version wrote, in a session, a queue or a signed token, is read by this one.

While versions run side by side each meets what the other wrote. So unknown keys are ignored, and missing ones have defaults.
Everything that makes an object of such JSON goes through here; whoever looks at single keys of it uses `.get`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T", bound=NamedTuple)


def from_json(kind: type[T], stored: Mapping[str, Any] | None) -> T | None:
    """`stored` as a `kind`, without the keys that it does not have; None where one is missing that has no default."""
    if not stored:
        return None
    known = {name: stored[name] for name in kind._fields if name in stored}
    if any(name not in known and name not in kind._field_defaults for name in kind._fields):
        return None
    return kind(**known)
