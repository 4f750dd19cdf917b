"""Quart with Quart-Session in Redis, as documented: SESSION_TYPE redis, SESSION_REDIS a client."""

import os

from deals import DEALS, card
from quart import Quart, session
from quart.typing import ResponseReturnValue
from quart_session import Session
from redis.asyncio import Redis

app = Quart(__name__)
app.config.update(
    SECRET_KEY="only-for-this-comparison",
    SESSION_TYPE="redis",
    SESSION_REDIS=Redis.from_url(os.environ["REDIS_URL"], encoding="utf-8", decode_responses=True),
)
Session(app)


@app.post("/login/<int:number>")
async def login(number: int) -> ResponseReturnValue:
    session["user"] = {"id": number, "name": f"Person {number}"}
    session["deal"] = card(1)
    return "", 204


@app.get("/current")
async def current() -> ResponseReturnValue:
    if "user" not in session:
        return "", 401
    return {"deal": session.get("deal"), "source": "selected", "notice": None}


@app.post("/select/<int:deal_id>")
async def select(deal_id: int) -> ResponseReturnValue:
    if "user" not in session:
        return "", 401
    if deal_id not in DEALS:
        return "", 404
    session["deal"] = card(deal_id)
    return {"deal": session["deal"]}
