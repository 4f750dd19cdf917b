"""Quart's seam: opens a session for each request and sets the version cookie. Neither method ever raises.

An exception from `open_session` would bypass every error handler, one from `save_session` would turn a committed write into
a 500. So an unknown outcome becomes a marked session, which `web.py` answers with 503 where a route needs to know.
"""

from collections.abc import MutableMapping
from typing import Any, cast

import structlog
from itsdangerous import BadSignature, URLSafeSerializer
from quart import Quart, Request, Response, session
from quart.sessions import SessionInterface, SessionMixin
from quart.wrappers import BaseRequestWebsocket
from quart_auth import AuthUser, QuartAuth

from app.core.cookies import SESSION, CookieNames
from app.core.errors import Unavailable
from app.core.metrics import METRICS
from app.core.recent import Recent
from app.sessions.manager import Loaded, Outcome, SessionManager
from app.sessions.notes import begin_notes, notes_of_request
from app.sessions.record import Record, SessionData, check_storable
from app.sessions.token import hash_token

log = structlog.get_logger()

_SALT = "holdfast session version"
# Nothing under these is private; no session is read for them.
SESSIONLESS = ("/static/", "/health/")


class UserSession(dict[str, Any], SessionMixin):
    """The session of one request: a dict of plain JSON, and what is known of where it came from.

    Keys set like `session["k"] = v` are merged into the stored session when the response is made, key by key, at best
    effort. What must not be lost is written by `SessionManager.write`, and `adopt`ed.
    """

    permanent = True

    def __init__(self, loaded: Loaded | None = None) -> None:
        super().__init__(loaded.record.data if loaded and loaded.record else {})
        self.loaded = loaded
        self.committed_version: int | None = None
        self.ended = False
        # A login cookie came that no key here has signed: whose it is, and whether it lives, nobody here can say.
        self.cookie_is_unreadable = False
        self.changed: SessionData = {}
        self.removed: set[str] = set()

    @property
    def outcome(self) -> Outcome | None:
        """None for an anonymous visitor."""
        return self.loaded.outcome if self.loaded else None

    @property
    def signed_in(self) -> bool:
        return self.outcome in (Outcome.FOUND, Outcome.ABSENT)

    @property
    def record(self) -> Record | None:
        return self.loaded.record if self.loaded else None

    @property
    def login_id(self) -> int:
        return self._identity().login_id

    @property
    def user_id(self) -> int:
        return self._identity().user_id

    def adopt(self, record: Record, *, token_hash: str | None = None) -> None:
        """Go on with a record that was committed during this request; the response will tell the browser its version."""
        self.loaded = Loaded(Outcome.FOUND, token_hash or self._loaded().token_hash, record)
        self.show(record.data)
        self.committed_version = record.version
        self.ended = False

    def show(self, data: SessionData) -> None:
        """Serve this request by `data`, without saving it."""
        dict.clear(self)
        dict.update(self, data)
        self.changed, self.removed = {}, set()

    def end(self) -> None:
        """The login is over: nothing of it is left in this request, and the cookie goes."""
        self.show({})
        self.loaded, self.committed_version, self.ended = None, None, True

    def __setitem__(self, key: str, value: Any) -> None:
        check_storable({**self, key: value})
        super().__setitem__(key, value)
        self.changed[key] = value
        self.removed.discard(key)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self.changed.pop(key, None)
        self.removed.add(key)

    # dict's own go past the two above, and what they change would not be saved.
    pop = MutableMapping.pop
    popitem = MutableMapping.popitem
    setdefault = MutableMapping.setdefault
    update = MutableMapping.update
    clear = MutableMapping.clear

    def merge_into(self, data: SessionData) -> SessionData:
        """This request's own changes of keys, applied to whatever the session is by now."""
        return {key: value for key, value in {**data, **self.changed}.items() if key not in self.removed}

    def _loaded(self) -> Loaded:
        if self.loaded is None:
            raise LookupError("nobody is signed in")
        return self.loaded

    def _identity(self) -> Record:
        loaded = self._loaded()
        identity = loaded.record or loaded.blank
        if identity is None:
            raise LookupError("nobody can say who is signed in")
        return identity


def _anonymous(cookie: AuthUser) -> UserSession:
    session = UserSession()
    session.cookie_is_unreadable = getattr(cookie, "is_unreadable", False)
    return session


def current_session() -> UserSession:
    """The session of this request."""
    return cast(UserSession, session._get_current_object())  # type: ignore[attr-defined]


class HoldfastSessions(SessionInterface):
    """Sessions by login cookie (quart-auth's), with the newest version the browser was shown in a cookie beside it."""

    def __init__(self, manager: SessionManager, auth: QuartAuth, *, names: CookieNames, keys: list[str]) -> None:
        self.manager = manager
        self.auth = auth
        self.names = names
        self._serializer = URLSafeSerializer(keys, salt=_SALT)
        self._versions = Recent[tuple[str, int]]()

    async def open_session(self, app: Quart, request: BaseRequestWebsocket) -> UserSession:
        try:
            return await self._open(request)
        except Exception:  # nothing that raises here would meet an error handler; "nobody can say" meets one
            log.exception("Unhandled error while a session was opened.")
            return UserSession(Loaded(Outcome.UNKNOWN, ""))

    async def _open(self, request: BaseRequestWebsocket) -> UserSession:
        begin_notes()
        if request.path.startswith(SESSIONLESS):
            return UserSession()
        cookie = self.auth.load_user()
        token = cookie.auth_id
        if token is None:
            return _anonymous(cookie)
        token_hash = hash_token(token)
        # A browser comes back to an event stream by itself, without anybody sitting in front of it.
        quiet = "text/event-stream" in request.headers.get("Accept", "")
        loaded = await self.manager.read(token_hash, cookie_version=self._cookie_version(request, token_hash), quiet=quiet)
        opened = UserSession(loaded)
        if loaded.outcome is Outcome.GONE:
            # The cookie stays: this answer may reach the browser after the one that gave it another token.
            return _anonymous(cookie)
        if loaded.cookie_ahead and loaded.record:
            opened.committed_version = loaded.record.version
        return opened

    async def save_session(self, app: Quart, session: SessionMixin, response: Response | None) -> None:  # type: ignore[override]
        if not isinstance(session, UserSession) or response is None or response.status_code >= 500:
            return
        if session.loaded and (session.changed or session.removed):
            await self._save_loose_keys(session)
        if session.loaded and (changed := notes_of_request().changed.get(session.loaded.token_hash)):
            # By a change of many sessions, this browser's among them: it is not to be shown the older one any more either.
            session.committed_version = max(changed, session.committed_version or 0)
        if session.committed_version is not None and session.loaded:
            self._set_cookie(response, session.loaded.token_hash, session.committed_version)
        elif session.ended:
            response.delete_cookie(
                self.names.name(SESSION), path=self.names.path(), secure=not self.names.plain, httponly=True, samesite="Lax"
            )

    async def _save_loose_keys(self, session: UserSession) -> None:
        loaded = session.loaded
        if loaded is None or loaded.outcome is Outcome.UNKNOWN:
            return
        try:
            record = await self.manager.write(loaded, session.merge_into)
            if record:
                session.adopt(record)
        except Unavailable as fault:
            METRICS.session_saves_dropped.labels("unavailable").inc()
            log.error(
                "A change of session keys was dropped; the page was served.",
                keys=sorted({*session.changed, *session.removed}),
                fault=fault.detail,
            )
        except Exception:  # the page is made, and what it did is committed
            METRICS.session_saves_dropped.labels("error").inc()
            log.exception("Unhandled error in a change of session keys: the change is dropped, the page was served.")

    def _cookie_version(self, request: BaseRequestWebsocket | Request, token_hash: str) -> int:
        """The newest version this browser was shown, 0 for none. It is bound to the login and only ever an extra check."""
        raw = request.cookies.get(self.names.name(SESSION))
        if raw is None:
            return 0
        bound_to, version = self._versions.get(raw, self._read_version) or ("", 0)
        return version if bound_to == token_hash[:16] else 0

    def _read_version(self, raw: str) -> tuple[str, int] | None:
        try:
            bound_to, version, *_ = self._serializer.loads(raw)
            return str(bound_to), int(version)
        except (BadSignature, TypeError, ValueError):
            return None

    def _set_cookie(self, response: Response, token_hash: str, version: int) -> None:
        value = self._serializer.dumps([token_hash[:16], version])
        response.set_cookie(
            self.names.name(SESSION), str(value), path=self.names.path(), secure=not self.names.plain, httponly=True, samesite="Lax"
        )
