"""Who sees a deal and why: adding colleagues, changing and withdrawing access, handing the deal over."""

from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict
from quart import Blueprint, request
from quart.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import ANY_ROLE, MANAGING_ROLES
from app.core.errors import BadRequest, Conflict, NotFound
from app.deals.activity import find_last_change
from app.deals.fields import Day, Email, GrantRole
from app.deals.members import change_grant, grant_access, list_colleagues, list_members, withdraw_access
from app.deals.schemas import DealDetail, MemberView, NewMember, PersonRef
from app.deals.service import transfer_deal
from app.deals.store import colleague, find_grant, get_grant, require_role
from app.http.ids import parse_id
from app.http.web import current_resources, current_user, signed_in
from app.models import Member, User
from app.pages.kit.fields import Field
from app.pages.kit.flash import see_other
from app.pages.kit.forms import SAVED, FormSheet, blank_sheet, sheet_of
from app.pages.kit.frame import Form, after, deal_write, saved_by, show_deal

team = Blueprint("team_pages", __name__)

MAX_COLLEAGUES = 200
NEW = "member-new"
ROLES = (("viewer", "Viewer: reads everything"), ("editor", "Editor: also changes things"))
_TERMS = (
    Field("role", "Role", "choice", options=ROLES),
    Field("expires_on", "Last day", "day", "Leave it empty for no end. Access ends at midnight UTC after this day."),
)
_GRANT = (Field("email", "E-mail of a colleague", "email", longest=320, required=True), *_TERMS)


class NewGrant(BaseModel):
    model_config = ConfigDict(extra="forbid")

    email: Email
    role: GrantRole = "viewer"
    expires_on: Day | None = None


class GrantChanges(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: GrantRole = "viewer"
    expires_on: Day | None = None


@team.get("/deals/<id:deal_id>/team")
@signed_in
async def show(deal_id: int) -> ResponseReturnValue:
    return await _show(deal_id)


@team.get("/deals/<id:deal_id>/team/<id:user_id>")
@signed_in
async def edit(deal_id: int, user_id: int) -> ResponseReturnValue:
    return await _show_form(deal_id, user_id, None)


@team.post("/deals/<id:deal_id>/team")
@signed_in
@deal_write("team")
async def add(deal_id: int, form: Form) -> ResponseReturnValue:
    await _require_managing(deal_id)
    resources, user, sheet = current_resources(), current_user(), blank_sheet(_GRANT)

    async def save(facts: dict[str, Any], version: int | None) -> None:
        grant = NewMember(email=facts["email"], role=facts["role"], expires_at=_end_of(facts.get("expires_on")))
        await grant_access(resources, user.id, deal_id, grant, saved=saved_by(form))

    status = await sheet.submit(form, NewGrant, save)
    if status != SAVED:
        return await _show(deal_id, sheet, status)
    return after(deal_id, "team", "member_added", saved=NEW)


@team.post("/deals/<id:deal_id>/team/transfer")
@signed_in
@deal_write("team")
async def transfer(deal_id: int, form: Form) -> ResponseReturnValue:
    to = form.get("user_id", "")
    if not to:
        return after(deal_id, "team", "nobody_chosen")
    await transfer_deal(current_resources(), current_user().id, deal_id, to=PersonRef(user_id=parse_id(to)))
    return after(deal_id, "team", "transferred")


@team.post("/deals/<id:deal_id>/team/<id:user_id>")
@signed_in
@deal_write("team")
async def change(deal_id: int, form: Form, user_id: int) -> ResponseReturnValue:
    await _require_managing(deal_id)
    resources, me = current_resources(), current_user()
    async with resources.database.read() as db:
        member = await find_grant(db, deal_id, user_id)
    if member is None or _is_over(member):
        return await _show_ended(deal_id, user_id, form)
    sheet = FormSheet(_TERMS, dict.fromkeys(("role", "expires_on"), ""), version=1)

    async def save(facts: dict[str, Any], version: int | None) -> None:
        changes = {"expires_at" if name == "expires_on" else name: value for name, value in facts.items()}
        if "expires_at" in changes:
            changes["expires_at"] = _end_of(changes["expires_at"])
        # What the form was drawn with names a day: it is what the grant says as long as that is the grant's last day.
        unmoved = sheet.was == _said(member)
        expected = (member.role, member.expires_at) if unmoved else ("", None)
        try:
            if changes or not unmoved:
                await change_grant(resources, me.id, deal_id, user_id, changes, expected=expected, saved=saved_by(form))
        except Conflict as conflict:
            raise await _explained(conflict, deal_id, user_id) from conflict

    try:
        status = await sheet.submit({"version": "1", **form.to_dict()}, GrantChanges, save)
    except NotFound:
        return await _show_ended(deal_id, user_id, form)
    if status != SAVED:
        return await _show_form(deal_id, user_id, sheet, status)
    return after(deal_id, "team", "edit_saved", saved=f"member-{user_id}")


@team.post("/deals/<id:deal_id>/team/<id:user_id>/withdraw")
@signed_in
@deal_write("team")
async def withdraw(deal_id: int, form: Form, user_id: int) -> ResponseReturnValue:
    """Somebody's access, or one's own: then there is no way back to the page."""
    resources, me = current_resources(), current_user()
    async with resources.database.read() as db:
        await require_role(db, me.id, deal_id, ANY_ROLE if user_id == me.id else MANAGING_ROLES, now=resources.clock.now())
        member = await get_grant(db, deal_id, user_id)
    await withdraw_access(resources, me.id, deal_id, user_id)
    if user_id == me.id and me.role != "admin":
        return see_other("/deals", "left")
    return after(deal_id, "team", "member_withdrawn", undo=user_id, role=member.role, until=_said(member)["expires_on"])


@team.post("/deals/<id:deal_id>/team/<id:user_id>/restore")
@signed_in
@deal_write("team")
async def give_back(deal_id: int, form: Form, user_id: int) -> ResponseReturnValue:
    """Undo of a withdrawal: the same access again."""
    until = form.get("expires_on", "")
    try:
        stated = GrantChanges.model_validate({"role": form.get("role"), "expires_on": until or None})
    except ValueError as error:
        raise BadRequest("Some fields are missing.") from error
    grant = NewMember(user_id=user_id, role=stated.role, expires_at=_end_of(stated.expires_on))
    await grant_access(current_resources(), current_user().id, deal_id, grant)
    return after(deal_id, "team", "member_back")


async def _show(deal_id: int, sheet: FormSheet | None = None, status: int = 200) -> ResponseReturnValue:
    return await show_deal(deal_id, "team", "deals/team/list.html", partial(_load, sheet=sheet), status=status)


async def _load(db: AsyncSession, deal: DealDetail, *, sheet: FormSheet | None) -> dict[str, Any]:
    now, me = current_resources().clock.now(), current_user()
    members = await list_members(db, deal.id, now=now)
    # Whom one could add is nobody's business who may not.
    colleagues = await list_colleagues(db, me.id, deal.id, limit=MAX_COLLEAGUES, now=now) if deal.can_manage else []
    shown = sheet or blank_sheet(_GRANT, role="viewer")
    undo = {name: request.args.get(name, "") for name in ("undo", "role", "until")}
    return {"members": members, "colleagues": colleagues, "sheet": shown, "withdrawn": undo, "last_day": _last_day}


async def _show_form(deal_id: int, user_id: int, sheet: FormSheet | None, status: int = 200) -> ResponseReturnValue:
    async def load(db: AsyncSession, deal: DealDetail) -> dict[str, Any]:
        members = await list_members(db, deal.id, now=current_resources().clock.now())
        member = next((each for each in members if each.user_id == user_id and each.role in ("editor", "viewer")), None)
        if member is None:
            raise NotFound
        return {"member": member, "sheet": sheet or sheet_of(_TERMS, {**_said(member), "version": 1})}

    return await show_deal(deal_id, "team", "deals/team/form.html", load, roles=MANAGING_ROLES, status=status)


async def _show_ended(deal_id: int, user_id: int, form: Form) -> ResponseReturnValue:
    """The access to be changed is none any more: it can be given anew, as it was chosen. Raises `NotFound` for nobody of here."""
    resources = current_resources()
    async with resources.database.read() as db:
        person = await db.scalar(select(User).where(colleague(current_user().id, user_id=user_id)))
        member = await find_grant(db, deal_id, user_id)
        last = await find_last_change(db, deal_id, "member.revoked", concerns=user_id)
    if person is None:
        raise NotFound
    why = "its last day is over" if member else f"{last[0] or 'somebody'} withdrew it" if last else "it was withdrawn"
    sheet = blank_sheet(_GRANT, email=person.email, **{name: form.get(name, "") for name in ("role", "expires_on")})
    sheet.message = (
        f"The access of {person.name} ended meanwhile: {why}. What you chose is kept below; add them again if they are to have it"
    )
    return await _show(deal_id, sheet, NotFound.status)


def _is_over(member: Member) -> bool:
    return member.expires_at is not None and member.expires_at <= current_resources().clock.now()


async def _explained(conflict: Conflict, deal_id: int, user_id: int) -> Conflict:
    """With who changed the access, and in the words of the form."""
    resources, current = current_resources(), conflict.extra["current"]
    async with resources.database.read() as db:
        last = await find_last_change(db, deal_id, "member.granted", "member.changed", concerns=user_id)
    who, at = last or ("", resources.clock.now())
    until = datetime.fromisoformat(current["expires_at"]) if current["expires_at"] else None
    stated = {"role": current["role"], "expires_on": _last_day(until)}
    return Conflict(conflict.detail, current={**stated, "version": 1, "updated_by": {"name": who}, "updated_at": at.isoformat()})


async def _require_managing(deal_id: int) -> None:
    resources = current_resources()
    async with resources.database.read() as db:
        await require_role(db, current_user().id, deal_id, MANAGING_ROLES, now=resources.clock.now())


def _said(member: Member | MemberView) -> dict[str, str]:
    return {"role": member.role, "expires_on": _last_day(member.expires_at)}


def _last_day(until: datetime | None) -> str:
    """The last day on which access until then can be used."""
    return (until - timedelta(microseconds=1)).date().isoformat() if until else ""


def _end_of(day: date | None) -> datetime | None:
    """The midnight after a day; None for no end."""
    if day == date.max:
        raise BadRequest("expires_on: must be a day before that")
    return datetime.combine(day + timedelta(days=1), time(), UTC) if day else None
