"""Flask with Flask-Session in Redis.

Documented default: SESSION_TYPE redis, SESSION_REDIS a client. Beyond it: that client's socket timeouts.
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


@app.post("/login/<name>")
def login(name: str) -> ResponseReturnValue:
    session["user"] = name
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


@app.get("/session")
def read() -> ResponseReturnValue:
    return dict(session), 200 if "user" in session else 401
