"""Starlette with starsessions in Redis, as documented: SessionMiddleware with a RedisStore, SessionAutoloadMiddleware, a lifetime.

Cookies over plain HTTP, as everything here is on one machine.
"""

import os

from deals import DEALS, card
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starsessions import SessionAutoloadMiddleware, SessionMiddleware
from starsessions.session import regenerate_session_id
from starsessions.stores.redis import RedisStore


async def login(request: Request) -> Response:
    number = request.path_params["number"]
    request.session["user"] = {"id": number, "name": f"Person {number}"}
    request.session["deal"] = card(1)
    regenerate_session_id(request)
    return Response(status_code=204)


async def current(request: Request) -> Response:
    if "user" not in request.session:
        return Response(status_code=401)
    return JSONResponse({"deal": request.session.get("deal"), "source": "selected", "notice": None})


async def select(request: Request) -> Response:
    if "user" not in request.session:
        return Response(status_code=401)
    if request.path_params["deal_id"] not in DEALS:
        return Response(status_code=404)
    request.session["deal"] = card(request.path_params["deal_id"])
    return JSONResponse({"deal": request.session["deal"]})


store = RedisStore(connection=Redis.from_url(os.environ["REDIS_URL"]))
app = Starlette(
    routes=[
        Route("/login/{number:int}", login, methods=["POST"]),
        Route("/current", current),
        Route("/select/{deal_id:int}", select, methods=["POST"]),
    ],
    middleware=[
        Middleware(SessionMiddleware, store=store, lifetime=14 * 24 * 3600, cookie_https_only=False),
        Middleware(SessionAutoloadMiddleware),
    ],
)
