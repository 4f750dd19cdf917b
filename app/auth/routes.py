"""The API of signing in and out, of one's own account and of one's devices."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from quart import Blueprint
from quart.typing import ResponseReturnValue

from app.auth.browser import change_password_here, sign_in_here, sign_out_here
from app.auth.people import StartAt, Theme, change_preferences, clean_name
from app.auth.service import end_logins
from app.auth.store import list_live_logins
from app.core.errors import NotFound
from app.http.devices import describe_device
from app.http.ids import MAX_ID
from app.http.json_bodies import read_json
from app.http.openapi import documented
from app.http.web import current_resources, current_user, public, signed_in
from app.models import Login
from app.sessions.interface import current_session

blueprint = Blueprint("auth", __name__, url_prefix="/api")

_BODY = (400, 413, 415)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Credentials(_Strict):
    email: str
    password: str
    keep_signed_in: bool = False


_STARTS: JsonDict = {
    "anyOf": [
        {"required": ["start_at", "start_deal_id"], "properties": {"start_at": {"const": "deal"}, "start_deal_id": {"type": "integer"}}},
        {"properties": {"start_at": {"enum": ["last_deal", "list"]}, "start_deal_id": {"type": "null"}}},
    ]
}


class Preferences(_Strict):
    """`start_at` "deal" goes with `start_deal_id`, a deal you see; the others without it."""

    model_config = ConfigDict(json_schema_extra=_STARTS)

    name: Annotated[str, AfterValidator(clean_name)] = ""
    remember_last_deal: bool = True
    remember_place: bool = True
    start_at: StartAt = "last_deal"
    start_deal_id: Annotated[int, Field(ge=1, le=MAX_ID)] | None = None
    theme: Theme = "system"

    @model_validator(mode="after")
    def _goes_together(self) -> "Preferences":
        if (self.start_at == "deal") != (self.start_deal_id is not None):
            raise ValueError('give start_deal_id with start_at "deal", and only with it')
        return self


class NewPassword(_Strict):
    current_password: str
    new_password: str


class Me(BaseModel):
    id: int
    email: str
    name: str
    organisation_id: int
    organisation: str
    role: Literal["admin", "member"]
    is_operator: bool
    remember_last_deal: bool
    remember_place: bool
    start_at: StartAt
    theme: Theme
    start_deal_id: int | None


class Account(BaseModel):
    user: Me


class DealOfLogin(BaseModel):
    id: int
    name: str
    role: str


class SignedIn(Account):
    current_deal: DealOfLogin | None


class Deadline(BaseModel):
    """When this login ends without further activity, by the clock of `now`."""

    signed_in_until: datetime
    now: datetime


class Device(BaseModel):
    id: int
    created_at: datetime
    seen_at: datetime
    device: str
    address: str
    keep_signed_in: bool
    is_current: bool


class Devices(BaseModel):
    logins: list[Device]


class Ended(BaseModel):
    ended: int


@blueprint.post("/auth/login")
@documented("account", SignedIn, body=Credentials, problems=(401, 403, 429, *_BODY), public=True)
@public
async def login() -> ResponseReturnValue:
    asked = await read_json(Credentials)
    await sign_in_here(asked.email, asked.password, keep_signed_in=asked.keep_signed_in)
    card = current_session().get("deal")
    current_deal = {key: card[key] for key in ("id", "name", "role")} if card else None
    return {**_me(), "current_deal": current_deal}


@blueprint.post("/auth/logout")
@documented("account", status=204, problems=(403, 409), public=True)
@public
async def logout() -> ResponseReturnValue:
    await sign_out_here()
    return "", 204


@blueprint.get("/me")
@documented("account", Account)
@signed_in
async def show_me() -> ResponseReturnValue:
    return _me()


@blueprint.patch("/me")
@documented("account", Account, body=Preferences, problems=(403, *_BODY))
@signed_in
async def change_me() -> ResponseReturnValue:
    asked = await read_json(Preferences)
    session = current_session()
    records = await change_preferences(current_resources(), session.user_id, asked.model_dump(exclude_unset=True))
    if session.loaded and (record := records.get(session.loaded.token_hash)):
        session.adopt(record)
    return _me()


@blueprint.post("/me/password")
@documented("account", Account, body=NewPassword, problems=(403, 409, 429, *_BODY))
@signed_in
async def change_password() -> ResponseReturnValue:
    asked = await read_json(NewPassword)
    await change_password_here(asked.current_password, asked.new_password)
    return _me()


@blueprint.post("/auth/stay")
@documented("account", Deadline, problems=(403,))
@signed_in
async def stay() -> ResponseReturnValue:
    """Restart the idle clock of this login. Its absolute end does not move."""
    resources, session = current_resources(), current_session()
    await resources.sessions.sql.touch(session.login_id)
    async with resources.database.read() as db:
        login = await db.get_one(Login, session.login_id)
    return {"signed_in_until": min(login.idle_expires_at, login.expires_at).isoformat(), "now": resources.clock.now().isoformat()}


@blueprint.get("/logins")
@documented("devices", Devices)
@signed_in
async def list_logins() -> ResponseReturnValue:
    session, resources = current_session(), current_resources()
    async with resources.database.read() as db:
        logins = await list_live_logins(db, session.user_id, now=resources.clock.now())
    return {"logins": [as_device(login, this_one=login.id == session.login_id) for login in logins]}


@blueprint.delete("/logins/<id:login_id>")
@documented("devices", status=204, problems=(403, 404))
@signed_in
async def end_login(login_id: int) -> ResponseReturnValue:
    session = current_session()
    if login_id == session.login_id:
        await sign_out_here()
        return "", 204
    mine = (Login.id == login_id) & (Login.user_id == session.user_id)
    if not await end_logins(current_resources(), mine, reason="revoked", actor_id=session.user_id):
        raise NotFound
    return "", 204


@blueprint.post("/logins/revoke-others")
@documented("devices", Ended, problems=(403,))
@signed_in
async def end_other_logins() -> ResponseReturnValue:
    session = current_session()
    others = (Login.user_id == session.user_id) & (Login.id != session.login_id)
    ended = await end_logins(current_resources(), others, reason="revoked", actor_id=session.user_id)
    return {"ended": len(ended)}


def _me() -> dict[str, Any]:
    return {"user": current_user()._asdict()}


def as_device(login: Login, *, this_one: bool) -> dict[str, Any]:
    return {
        "id": login.id,
        "created_at": login.created_at.isoformat(),
        "seen_at": login.seen_at.isoformat(),
        "device": describe_device(login.user_agent),
        "address": login.address,
        "keep_signed_in": login.keep_signed_in,
        "is_current": this_one,
    }
