"""Waiting for what happens elsewhere, in another process or task: by its condition, with a deadline, never by a guess."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], bool | Awaitable[bool]], *, within: float = 5) -> None:
    """Return once `condition` holds. Raises `TimeoutError` after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            holds = condition()
            if await holds if inspect.isawaitable(holds) else holds:
                return
            await asyncio.sleep(0.01)
