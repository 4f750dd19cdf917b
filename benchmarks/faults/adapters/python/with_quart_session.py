"""Quart with Quart-Session in Redis.

As documented: SESSION_TYPE redis, SESSION_REDIS a client. Beyond it: that client's socket timeouts.
"""

import os

from quart import Quart, session
from quart.typing import ResponseReturnValue
from quart_session import Session
from redis.asyncio import Redis

TIMEOUT = float(os.environ["REDIS_TIMEOUT_SECONDS"])

app = Quart(__name__)
app.config.update(
    SECRET_KEY="only-for-this-comparison",
    SESSION_TYPE="redis",
    SESSION_REDIS=Redis.from_url(
        os.environ["REDIS_URL"], encoding="utf-8", decode_responses=True, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT
    ),
)
Session(app)


@app.post("/login/<user>")
async def login(user: str) -> ResponseReturnValue:
    # It has nothing that would give the session another id.
    session.clear()
    session["user"] = user
    return "", 204


@app.post("/logout")
async def logout() -> ResponseReturnValue:
    session.clear()
    return "", 204


@app.post("/set/<key>/<value>")
async def write(key: str, value: str) -> ResponseReturnValue:
    if "user" not in session:
        return "", 401
    session[key] = value
    return "", 204


@app.get("/get/<key>")
async def read(key: str) -> ResponseReturnValue:
    return ({"value": session.get(key)}, 200) if "user" in session else ("", 401)


@app.post("/revoke-all")
async def revoke_all() -> ResponseReturnValue:
    return "", 501


@app.get("/whoami")
async def whoami() -> ResponseReturnValue:
    return ({"user": session["user"]}, 200) if "user" in session else ("", 401)
