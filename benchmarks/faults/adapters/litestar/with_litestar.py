"""Litestar with server-side sessions in Redis.

As documented: ServerSideSessionConfig, a RedisStore named "sessions". Beyond it: the socket timeouts of the store's client.
"""

import os

from litestar import Litestar, Request, Response, get, post
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.stores.redis import RedisStore
from redis.asyncio import Redis

TIMEOUT = float(os.environ["REDIS_TIMEOUT_SECONDS"])
CLIENT = Redis.from_url(os.environ["REDIS_URL"], socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)


@post("/login/{user:str}")
async def login(request: Request, user: str) -> Response:
    # It has nothing that would give the session another id.
    request.set_session({"user": user})
    return Response(None, status_code=204)


@post("/logout")
async def logout(request: Request) -> Response:
    request.clear_session()
    return Response(None, status_code=204)


@post("/set/{key:str}/{value:str}")
async def write(request: Request, key: str, value: str) -> Response:
    if "user" not in request.session:
        return Response(None, status_code=401)
    request.session[key] = value
    return Response(None, status_code=204)


@get("/get/{key:str}")
async def read(request: Request, key: str) -> Response:
    if "user" not in request.session:
        return Response(None, status_code=401)
    return Response({"value": request.session.get(key)})


@post("/revoke-all")
async def revoke_all() -> Response:
    return Response(None, status_code=501)


@get("/whoami")
async def whoami(request: Request) -> Response:
    if "user" not in request.session:
        return Response(None, status_code=401)
    return Response({"user": request.session["user"]})


app = Litestar(
    [login, logout, write, read, revoke_all, whoami],
    middleware=[ServerSideSessionConfig().middleware],
    stores={"sessions": RedisStore(CLIENT)},
)
