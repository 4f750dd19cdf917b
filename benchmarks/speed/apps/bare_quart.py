"""Quart and nothing else: no session, nobody signed in. What a request costs before anybody has done anything for it."""

from typing import Any

from deals import card
from quart import Quart

app = Quart(__name__)


@app.get("/empty")
async def empty() -> dict[str, str]:
    return {"status": "alive"}


@app.get("/current")
async def current() -> dict[str, Any]:
    return {"deal": card(1), "source": "selected", "notice": None}
