"""Waiting for asynchronous work from a fixture that is not, whether or not an event loop runs around it."""

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def blocking(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function` in a thread of its own, in a loop of its own where it is a coroutine function."""
    with ThreadPoolExecutor(1) as thread:
        if inspect.iscoroutinefunction(function):
            return thread.submit(lambda: asyncio.run(function(*arguments))).result()
        return thread.submit(function, *arguments).result()
