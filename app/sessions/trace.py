"""The steps of the protocol as this process takes them, told to whoever listens. In production nobody does, and a step costs a call.

`tests/model/conformance.py` asks the model whether it can do what was told. A step is told when it is done; those that begin
something (`read`, `write`, `bulk`, `claims`, `tells Redis`, …) when they begin.
"""

from collections.abc import Callable
from typing import Any

Listener = Callable[..., None]


def _nobody_listens(what: str, *about: Any) -> None:
    pass


step: Listener = _nobody_listens


def listen(listener: Listener) -> None:
    """`listener(what, *about)` is called at each step, in the context of the request that takes it."""
    global step
    step = listener
