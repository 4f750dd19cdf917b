"""JSON at rest: what another version wrote, in a session, a queue or a signed token, is read by this one.

While versions run side by side each meets what the other wrote. So unknown keys are ignored, and missing ones have defaults.
Everything that makes an object of such JSON goes through here; whoever looks at single keys of it uses `.get`.
"""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

T = TypeVar("T")


def from_json(kind: type[T], stored: Mapping[str, Any] | None) -> T | None:
    """`stored` as a `kind` of NamedTuple, without the keys that it does not have; None where one is missing that has no default."""
    if not stored:
        return None
    named_tuple = cast(Any, kind)
    known = {name: stored[name] for name in named_tuple._fields if name in stored}
    if any(name not in known and name not in named_tuple._field_defaults for name in named_tuple._fields):
        return None
    return kind(**known)
