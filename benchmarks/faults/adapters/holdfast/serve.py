"""One server of Holdfast: `holdfast web` with a `holdfast worker` beside it. The six routes stand in front of the real ones.

Key a is the current deal, key b the person's theme: two keys of one session, that two requests change.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from environment import PASSWORD, address, prepare_environment

prepare_environment()
# They read the settings when they are imported.
import app.asgi  # noqa: E402
from app.core.config import load_settings  # noqa: E402
from app.server.server import serve  # noqa: E402

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
DEALS: list[int] = json.loads(Path("deals.json").read_text())
THEMES = ("light", "dark")


class SixRoutes:
    """Each request becomes one of Holdfast's, with the same headers; what Holdfast answers goes back with another body at most."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        words = scope["path"].strip("/").split("/") if scope["type"] == "http" else []
        match words:
            case ["login", user]:
                await self._pass(scope, send, "POST", "/api/auth/login", {"email": address(user), "password": PASSWORD})
            case ["logout"]:
                await self._pass(scope, send, "POST", "/api/auth/logout")
            case ["set", "a", value]:
                await self._pass(scope, send, "POST", f"/api/deals/{DEALS[int(value)]}/select")
            case ["set", "b", value]:
                await self._pass(scope, send, "PATCH", "/api/me", {"theme": THEMES[int(value)]})
            case ["get", "a"]:
                await self._show(scope, send, "/api/deals/current", lambda body: {"value": _deal(body)})
            case ["get", "b"]:
                await self._show(scope, send, "/api/me", lambda body: {"value": _theme(body)})
            case ["whoami"]:
                await self._show(scope, send, "/api/me", lambda body: {"user": body["user"]["email"].partition("@")[0]})
            case ["revoke-all"]:
                status, _, _ = await self._ask(scope, "POST", "/api/logins/revoke-others")
                if status >= 400:
                    await _answer(send, status, [], b"")
                else:
                    await self._pass(scope, send, "POST", "/api/auth/logout")
            case _:
                await self.inner(scope, receive, send)

    async def _pass(self, scope: Message, send: Send, method: str, path: str, body: Any = None) -> None:
        await _answer(send, *await self._ask(scope, method, path, body))

    async def _show(self, scope: Message, send: Send, path: str, change: Callable[[Any], Any]) -> None:
        status, headers, body = await self._ask(scope, "GET", path)
        await _answer(send, status, headers, json.dumps(change(json.loads(body))).encode() if status == 200 else body)

    async def _ask(self, scope: Message, method: str, path: str, body: Any = None) -> tuple[int, list[Any], bytes]:
        content = b"" if body is None else json.dumps(body).encode()
        kept = [(name, value) for name, value in scope["headers"] if name not in (b"content-length", b"content-type")]
        own = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        asked = [{"type": "http.request", "body": content, "more_body": False}]
        told: list[Message] = []

        async def receive() -> Message:
            # Nobody leaves before the answer.
            return asked.pop() if asked else await asyncio.get_running_loop().create_future()

        async def send(message: Message) -> None:
            told.append(message)

        changed = scope | {"method": method, "path": path, "raw_path": path.encode(), "headers": kept + own}
        await self.inner(changed, receive, send)
        return told[0]["status"], told[0]["headers"], b"".join(message.get("body", b"") for message in told[1:])


def _deal(body: Any) -> str | None:
    return str(DEALS.index(body["deal"]["id"])) if body["deal"] else None


def _theme(body: Any) -> str | None:
    theme = body["user"]["theme"]
    return str(THEMES.index(theme)) if theme in THEMES else None


async def _answer(send: Send, status: int, headers: list[Any], body: bytes) -> None:
    kept = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    await send({"type": "http.response.start", "status": status, "headers": [*kept, (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


if __name__ == "__main__":
    subprocess.Popen([sys.executable, "-m", "app", "worker"])
    app.asgi.app = SixRoutes(app.asgi.app)  # type: ignore[assignment]
    os.environ["WEB_CONCURRENCY"] = "1"
    serve(load_settings())
