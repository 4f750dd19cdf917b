"""Session layers in memory for the conformance kit to judge: a sound one, and one for each kind of flaw."""

import asyncio
from collections import defaultdict
from typing import Any

import httpx

from benchmarks.faults.holdfast_faults.site import Site

# A test that hangs would say less than one that goes on.
LIMIT_SECONDS = 5


class Outage(Exception):
    pass


class MemoryRedis:
    """What a layer keeps there, and whether it may be reached."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, str]] = {}
        self.saved: dict[str, dict[str, str]] = {}
        self.is_up, self.is_full, self.reads = True, False, 0

    async def kill(self) -> None:
        self.is_up = False

    async def restart(self) -> None:
        self.sessions, self.is_up = {name: dict(session) for name, session in self.saved.items()}, True

    hang = kill

    async def wake(self) -> None:
        self.is_up = True

    async def fill(self) -> None:
        self.is_full = True

    async def make_room(self) -> None:
        self.is_full = False

    async def flush(self) -> None:
        self.sessions.clear()

    evict = flush

    async def save(self) -> None:
        self.saved = {name: dict(session) for name, session in self.sessions.items()}

    async def keys_read(self) -> int:
        return self.reads


class MemoryServer:
    def __init__(self, layer: "MemoryLayer", number: int) -> None:
        self.url = f"http://site.example:{8001 + number}"
        self.transport: httpx.AsyncBaseTransport = httpx.MockTransport(self._serve)
        self.layer = layer
        self.cache: dict[str, dict[str, str]] = {}
        self.reaches_redis, self.is_late = True, False
        self.awake = asyncio.Event()
        self.awake.set()

    async def pause(self) -> None:
        self.awake.clear()

    async def resume(self) -> None:
        self.awake.set()

    async def kill(self) -> None:
        if self.layer.flaw == "acknowledges too soon":
            self.layer.truth.clear()

    async def start(self) -> None:
        pass

    async def cut_off(self) -> None:
        self.reaches_redis = False

    async def reconnect(self) -> None:
        self.reaches_redis = True

    async def answer_late(self, seconds: float) -> None:
        self.is_late = seconds > 0

    async def _serve(self, request: httpx.Request) -> httpx.Response:
        await self.awake.wait()
        cookies = dict(each.split("=", 1) for each in request.headers.get("cookie", "").split("; ") if each)
        try:
            return await self.layer.answer(self, request.url.path.strip("/").split("/"), cookies.get("session", ""))
        except Outage:
            return httpx.Response(500)


class MemoryLayer:
    """Sound where it has no flaw: one truth for all servers, changed key by key; Redis is asked and never believed."""

    def __init__(self, flaw: str) -> None:
        self.flaw = flaw
        self.redis = MemoryRedis()
        self.truth: dict[str, dict[str, str]] = {}
        self.logouts = 0
        self.changed = asyncio.Condition()
        self._made: dict[str, int] = defaultdict(int)

    def site(self) -> Site:
        return Site([MemoryServer(self, number) for number in range(2)], self.redis)

    async def answer(self, server: MemoryServer, words: list[str], sent: str) -> httpx.Response:
        session = await self._load(server, sent)
        if words[0] == "login":
            keeps = self.flaw == "keeps the identifier" and session is not None
            name = sent if keeps else self._new_name(words[1])
            await self._save(server, name, {"user": words[1]})
            return _with_cookie(self._in_cookie({"user": words[1]}) if self.flaw == "has no server side" else name)
        if words[0] == "logout":
            await self._end(server, sent)
            async with self.changed:
                self.logouts += 1
                self.changed.notify_all()
            return _with_cookie("")
        if session is None:
            return httpx.Response(401)
        if words[0] == "set":
            return await self._set(server, sent, session, words[1], words[2])
        if words[0] == "get":
            return httpx.Response(200, json={"value": session.get(words[1])})
        if words[0] == "whoami":
            return httpx.Response(200, json={"user": session["user"]})
        assert words == ["revoke-all"]
        everyone = [name for name in {**self.truth, **self.redis.sessions} if name.startswith(session["user"])]
        for name in [sent] if self.flaw == "revokes one" else everyone:
            await self._end(server, name)
        return httpx.Response(204)

    async def _set(self, server: MemoryServer, name: str, session: dict[str, str], key: str, value: str) -> httpx.Response:
        if self.flaw == "has no server side":
            return _with_cookie(self._in_cookie(session | {key: value}))
        if self.flaw != "saves whole sessions":
            await self._save(server, name, {key: value})
            return httpx.Response(204)
        if server.is_late:
            await self._until_somebody_signs_out()
        await asyncio.sleep(0)
        await self._save(server, name, session | {key: value})
        return httpx.Response(204)

    async def _until_somebody_signs_out(self) -> None:
        async with self.changed:
            before = self.logouts
            await asyncio.wait_for(self.changed.wait_for(lambda: self.logouts > before), LIMIT_SECONDS)

    async def _load(self, server: MemoryServer, name: str) -> dict[str, str] | None:
        if self.flaw == "has no server side":
            return dict(each.split(":") for each in name.split(",")) if name else None
        if self.flaw == "saves whole sessions":
            self._reach_redis(server)
            return _copied(self.redis.sessions.get(name))
        if self.flaw == "believes its memory" and name in server.cache:
            return dict(server.cache[name])
        found = self.truth.get(name)
        if self._is_redis_near(server):
            self.redis.reads += 1
            if self.flaw == "believes Redis" and name in self.redis.sessions:
                found = self.redis.sessions[name]
        if self.flaw == "believes its memory" and found is not None:
            server.cache[name] = dict(found)
        return _copied(found)

    async def _save(self, server: MemoryServer, name: str, changes: dict[str, str]) -> None:
        if self.flaw == "saves whole sessions":
            self._reach_redis(server)
            if self.redis.is_full:
                raise Outage
            self.redis.sessions[name] = changes
            return
        self.truth.setdefault(name, {}).update(changes)
        if self._is_redis_near(server) and not self.redis.is_full:
            self.redis.sessions[name] = dict(self.truth[name])
        if name in server.cache:
            server.cache[name].update(changes)

    async def _end(self, server: MemoryServer, name: str) -> None:
        if self.flaw == "saves whole sessions":
            self._reach_redis(server)
        self.truth.pop(name, None)
        server.cache.pop(name, None)
        if self._is_redis_near(server):
            self.redis.sessions.pop(name, None)

    def _is_redis_near(self, server: MemoryServer) -> bool:
        return self.redis.is_up and server.reaches_redis

    def _reach_redis(self, server: MemoryServer) -> None:
        if not self._is_redis_near(server):
            raise Outage
        self.redis.reads += 1

    def _new_name(self, user: str) -> str:
        self._made[user] += 1
        return f"{user}{self._made[user]}"

    @staticmethod
    def _in_cookie(session: dict[str, Any]) -> str:
        return ",".join(f"{key}:{value}" for key, value in session.items())


def _with_cookie(value: str) -> httpx.Response:
    return httpx.Response(204, headers={"set-cookie": f"session={value}; path=/"})


def _copied(session: dict[str, str] | None) -> dict[str, str] | None:
    return None if session is None else dict(session)
