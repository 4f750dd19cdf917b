"""The sessions, or the logins, that a change of many is about, with the statements it runs.

They are made from a condition: once, where it stands in a module with parameters for what varies.
"""

from sqlalchemy import ColumnElement, bindparam, delete, select, update

from app.models.parameters import NOW
from app.models.sessions import Login, Session


class SessionsWhere:
    """Those matched by a condition over `Session`."""

    def __init__(self, condition: ColumnElement[bool]) -> None:
        of_login = (Login.token_hash, Login.idle_expires_at, Login.expires_at.label("login_expires_at"))
        columns = (Session.id, Session.login_id, Session.user_id, Session.version, Session.data, Session.expires_at)
        self.rows = select(*of_login, *columns).join(Login, Login.id == Session.login_id).where(condition).order_by(Session.id)
        self.keys = self.rows.with_only_columns(Login.token_hash)
        # In the order in which everybody locks many.
        self.lock = select(Session.id).where(condition).order_by(Session.id).with_for_update()


class LoginsWhere:
    """The live ones matched by a condition over `Login`."""

    def __init__(self, condition: ColumnElement[bool]) -> None:
        self.live = condition & Login.ended_at.is_(None)
        self.keys = select(Login.token_hash).where(self.live)
        self.lock = select(Login.id).where(self.live).order_by(Login.id).with_for_update()
        self.lock_sessions = SessionsWhere(Session.login_id.in_(select(Login.id).where(self.live))).lock
        self.end = update(Login).where(self.live).values(ended_at=NOW).returning(Login.id, Login.token_hash)


DELETE_SESSIONS = delete(Session).where(Session.login_id.in_(bindparam("login_ids", expanding=True)))
