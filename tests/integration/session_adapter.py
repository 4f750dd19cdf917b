"""The six routes of the conformance kit on nothing but Redis and the standard library: `session_adapter.py PORT REDIS_URL`."""

import json
import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

from redis import Redis

redis: "Redis" = Redis.from_url(sys.argv[2], decode_responses=True)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        words = self.path.strip("/").split("/")
        if words[0] == "login":
            session = secrets.token_hex()
            redis.hset(session, "user", words[1])
            self.answer(204, cookie=session)
        elif words[0] == "logout":
            redis.delete(self.session)
            self.answer(204)
        elif words[0] == "revoke-all":
            self.answer(501)
        elif not redis.exists(self.session):
            self.answer(401)
        else:
            redis.hset(self.session, words[1], words[2])
            self.answer(204)

    def do_GET(self) -> None:
        kept = cast(dict[str, str], redis.hgetall(self.session))
        if not kept:
            self.answer(401)
        elif self.path == "/whoami":
            self.answer(200, {"user": kept["user"]})
        else:
            self.answer(200, {"value": kept.get(self.path.removeprefix("/get/"))})

    @property
    def session(self) -> str:
        return self.headers.get("Cookie", "session=nobody").removeprefix("session=")

    def answer(self, status: int, body: object = None, *, cookie: str = "") -> None:
        self.send_response(status)
        if cookie:
            self.send_header("Set-Cookie", f"session={cookie}; Path=/")
        self.end_headers()
        if body:
            self.wfile.write(json.dumps(body).encode())


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
