"""Flask with Flask-Session in Redis.

As documented: SESSION_TYPE redis, SESSION_REDIS a client, `regenerate` at login. Beyond it: that client's socket timeouts.
"""

import os

from flask import Flask, session
from flask.typing import ResponseReturnValue
from flask_session import Session
from redis import Redis

TIMEOUT = float(os.environ["REDIS_TIMEOUT_SECONDS"])

app = Flask(__name__)
app.config.update(
    SECRET_KEY="only-for-this-comparison",
    SESSION_TYPE="redis",
    SESSION_REDIS=Redis.from_url(os.environ["REDIS_URL"], socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT),
)
Session(app)


@app.post("/login/<user>")
def login(user: str) -> ResponseReturnValue:
    session.clear()
    session["user"] = user
    app.session_interface.regenerate(session)
    return "", 204


@app.post("/logout")
def logout() -> ResponseReturnValue:
    session.clear()
    return "", 204


@app.post("/set/<key>/<value>")
def write(key: str, value: str) -> ResponseReturnValue:
    if "user" not in session:
        return "", 401
    session[key] = value
    return "", 204


@app.get("/get/<key>")
def read(key: str) -> ResponseReturnValue:
    return ({"value": session.get(key)}, 200) if "user" in session else ("", 401)


@app.post("/revoke-all")
def revoke_all() -> ResponseReturnValue:
    return "", 501


@app.get("/whoami")
def whoami() -> ResponseReturnValue:
    return ({"user": session["user"]}, 200) if "user" in session else ("", 401)
