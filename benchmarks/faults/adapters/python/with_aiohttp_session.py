"""aiohttp with aiohttp-session in Redis.

As documented: `setup` with a RedisStorage, `new_session` at login, `invalidate` at logout. Beyond it: the client's socket timeouts.
"""

import os

from aiohttp import web
from aiohttp_session import get_session, new_session, setup
from aiohttp_session.redis_storage import RedisStorage
from redis.asyncio import Redis

TIMEOUT = float(os.environ["REDIS_TIMEOUT_SECONDS"])


async def login(request: web.Request) -> web.Response:
    session = await new_session(request)
    session["user"] = request.match_info["user"]
    return web.Response(status=204)


async def logout(request: web.Request) -> web.Response:
    (await get_session(request)).invalidate()
    return web.Response(status=204)


async def write(request: web.Request) -> web.Response:
    session = await get_session(request)
    if "user" not in session:
        return web.Response(status=401)
    session[request.match_info["key"]] = request.match_info["value"]
    return web.Response(status=204)


async def read(request: web.Request) -> web.Response:
    session = await get_session(request)
    if "user" not in session:
        return web.Response(status=401)
    return web.json_response({"value": session.get(request.match_info["key"])})


async def revoke_all(request: web.Request) -> web.Response:
    return web.Response(status=501)


async def whoami(request: web.Request) -> web.Response:
    session = await get_session(request)
    if "user" not in session:
        return web.Response(status=401)
    return web.json_response({"user": session["user"]})


async def make_app() -> web.Application:
    app = web.Application()
    client = Redis.from_url(os.environ["REDIS_URL"], socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
    setup(app, RedisStorage(client))
    app.add_routes(
        [
            web.post("/login/{user}", login),
            web.post("/logout", logout),
            web.post("/set/{key}/{value}", write),
            web.get("/get/{key}", read),
            web.post("/revoke-all", revoke_all),
            web.get("/whoami", whoami),
        ]
    )
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None)
