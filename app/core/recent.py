"""What was proven a moment ago and cannot change, kept so that it need not be proven again: a signature, never a right."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

KEPT_SECONDS = 60.0
MAX_KEPT = 4096


class Recent(Generic[T]):
    """Holds at most `MAX_KEPT` values, none for longer than `KEPT_SECONDS`, and nothing that was refused."""

    def __init__(self) -> None:
        self._kept: dict[str, T] = {}
        self._until = 0.0

    def get(self, key: str, prove: Callable[[str], T | None]) -> T | None:
        """The value of `key`; None, from `prove`, is not kept."""
        now = time.monotonic()
        if now >= self._until or len(self._kept) >= MAX_KEPT:
            self._kept, self._until = {}, now + KEPT_SECONDS
        value = self._kept.get(key)
        if value is None:
            value = prove(key)
            if value is not None:
                self._kept[key] = value
        return value
