"""Starlette with starsessions in Redis.

As documented: SessionMiddleware with a RedisStore, SessionAutoloadMiddleware, a lifetime, `regenerate_session_id` at login.
Beyond it: the socket timeouts of the store's client; cookies over plain HTTP, as everything here is on one machine.
"""

import os

from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starsessions import SessionAutoloadMiddleware, SessionMiddleware
from starsessions.session import regenerate_session_id
from starsessions.stores.redis import RedisStore

TIMEOUT = float(os.environ["REDIS_TIMEOUT_SECONDS"])
CLIENT = Redis.from_url(os.environ["REDIS_URL"], socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)


async def login(request: Request) -> Response:
    request.session.clear()
    request.session["user"] = request.path_params["user"]
    regenerate_session_id(request)
    return Response(status_code=204)


async def logout(request: Request) -> Response:
    request.session.clear()
    return Response(status_code=204)


async def write(request: Request) -> Response:
    if "user" not in request.session:
        return Response(status_code=401)
    request.session[request.path_params["key"]] = request.path_params["value"]
    return Response(status_code=204)


async def read(request: Request) -> Response:
    if "user" not in request.session:
        return Response(status_code=401)
    return JSONResponse({"value": request.session.get(request.path_params["key"])})


async def revoke_all(request: Request) -> Response:
    return Response(status_code=501)


async def whoami(request: Request) -> Response:
    if "user" not in request.session:
        return Response(status_code=401)
    return JSONResponse({"user": request.session["user"]})


app = Starlette(
    routes=[
        Route("/login/{user}", login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
        Route("/set/{key}/{value}", write, methods=["POST"]),
        Route("/get/{key}", read),
        Route("/revoke-all", revoke_all, methods=["POST"]),
        Route("/whoami", whoami),
    ],
    middleware=[
        Middleware(SessionMiddleware, store=RedisStore(connection=CLIENT), lifetime=14 * 24 * 3600, cookie_https_only=False),
        Middleware(SessionAutoloadMiddleware),
    ],
)
