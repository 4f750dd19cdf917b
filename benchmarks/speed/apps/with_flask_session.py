"""Flask with Flask-Session in Redis and Flask-SQLAlchemy, as documented: the last deal of each person is in SQL."""

import os

from deals import DEALS, card
from flask import Flask, session
from flask.typing import ResponseReturnValue
from flask_session import Session
from flask_sqlalchemy import SQLAlchemy
from redis import Redis
from sqlalchemy import Engine, ForeignKey, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

PEOPLE = 1000


@event.listens_for(Engine, "connect")
def _as_durable_as_holdfast(connection, _record) -> None:  # type: ignore[no-untyped-def]
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


class Base(DeclarativeBase):
    pass


class Deal(Base):
    __tablename__ = "deals"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    last_deal_id: Mapped[int | None] = mapped_column(ForeignKey("deals.id"))


app = Flask(__name__)
app.config.update(
    SECRET_KEY="only-for-this-comparison",
    SESSION_TYPE="redis",
    SESSION_REDIS=Redis.from_url(os.environ["REDIS_URL"]),
    SQLALCHEMY_DATABASE_URI=f"sqlite:///{os.getcwd()}/flask.db",
)
Session(app)
db = SQLAlchemy(app, model_class=Base)


@app.post("/login/<int:number>")
def login(number: int) -> ResponseReturnValue:
    session["user"] = {"id": number, "name": f"Person {number}"}
    session["deal"] = card(1)
    app.session_interface.regenerate(session)  # type: ignore[attr-defined]
    return "", 204


@app.get("/current")
def current() -> ResponseReturnValue:
    if "user" not in session:
        return "", 401
    return {"deal": session.get("deal"), "source": "selected", "notice": None}


@app.post("/select/<int:deal_id>")
def select(deal_id: int) -> ResponseReturnValue:
    if "user" not in session:
        return "", 401
    if db.session.get(Deal, deal_id) is None:
        return "", 404
    user = db.session.get_one(User, session["user"]["id"])
    user.last_deal_id = deal_id
    db.session.commit()
    session["deal"] = card(deal_id)
    return {"deal": session["deal"]}


if __name__ == "__main__":
    with app.app_context():
        db.create_all()
        db.session.add_all(Deal(id=number, name=f"Deal {number}") for number in DEALS)
        db.session.add_all(User(id=number) for number in range(PEOPLE))
        db.session.commit()
