"""The sentences of an explanation: outcome and fix, from given facts."""

from dataclasses import dataclass
from datetime import datetime

from app.access.permissions import BIN_LIFE
from app.models import Switch, User
from app.ops.console.schemas import Browser, DealState, Happening, Outlook

_GRANT = "Have the owner of deal {deal} or an administrator of its organisation give access again; the person then opens it once."


@dataclass(frozen=True)
class Facts:
    """`deal` is the one spoken of; `withdrawn` the event that took it away."""

    deal: DealState | None
    deal_id: int | None
    user: User
    visible: int
    withdrawn: Happening | None
    switch: Switch | None


def lost_deal(happenings: list[Happening]) -> int | None:
    """The deal whose loss emptied the pointer: what happened last to this person's place was that it was taken away."""
    for each in happenings:
        if each.kind in ("deal.selected", "deal.restored", "deal.cleared"):
            return None
        if each.kind == "member.revoked" or (each.kind == "deal.restore_refused" and each.reason == "refused_revoked"):
            return each.deal_id
    return None


def outlook(outcome: str, reason: str, facts: Facts) -> str:
    deal = f"deal {facts.deal_id}"
    if outcome == "keeps":
        how = {"restored": "was restored to", "only_deal": "opened as the only one"}.get(reason, "selected")
        return f"The next request stays on {deal}, which this session {how}."
    sentences = {
        "restored": f"The next request reopens {deal}.",
        "only_deal": f"The next request opens {deal}, the only one this person can see.",
        "refused_deleted": f"The next request reopens nothing: {_why_not(facts)} The pointer stays, so the deal comes back with it.",
        "refused_revoked": f"The next request reopens nothing: {_why_not(facts)} The pointer is cleared by it.",
        "cannot_sign_in": f"Nobody can sign in: the account is disabled since {_moment(facts.user.disabled_at)}.",
    }
    return sentences.get(outcome) or f"The next request shows the list of deals: {_nothing(reason, facts)}"


def fix(outcome: str, reason: str, facts: Facts) -> str:
    deal = str(facts.deal_id)
    if outcome in ("keeps", "restored", "only_deal"):
        return "Nothing to do. Where another deal is shown, the address of that page names it: an address wins over everything else."
    if outcome == "cannot_sign_in":
        return "Let an administrator of the organisation enable the account again, if that is wanted."
    if outcome == "refused_deleted" or (reason == "already_refused" and facts.deal and facts.deal.state == "deleted"):
        until = facts.deal.deleted_at + BIN_LIFE if facts.deal and facts.deal.deleted_at else None
        return (
            f"Have its owner or an administrator take deal {deal} out of the bin before {_moment(until)}. "
            "It then comes back by itself, unless the Sunday sweep has forgotten it as the last deal by then."
        )
    fixes = {
        "switched_off_by_environment": "Unset AUTO_RESTORE_DEAL, or set it to true, and restart the web processes.",
        "switched_off_by_operator": "Switch auto-restore on again at /ops/sessions.",
        "switched_off_by_organisation": "An administrator of the organisation can switch it on again, if that is wanted.",
        "remember_off": "Nothing is broken. The person can switch “Remember my last deal” on again at /settings.",
        "cleared": f"Nothing is broken: the person cleared it on {_moment(facts.user.last_deal_cleared_at)}. Choosing a deal ends that.",
        "granted_again": f"Access to deal {deal} is good again. The person opens it once; a new grant reopens nothing by itself.",
        "waits": "Nothing to do: a session that found nothing looks again within a minute.",
        "undecided": "Nothing is broken: the person chooses a deal, and comes back to it from then on.",
        "sees_none": "Have the owner of a deal or an administrator of the organisation give this person access.",
    }
    return fixes.get(reason) or _GRANT.format(deal=deal)


def url(visible: int) -> str:
    return f"A page at /deals/<id>/… shows that deal if this person may see it. They see {count(visible, 'deal')} now."


def sessions(browsers: list[Browser]) -> str:
    if not browsers:
        return "No browser is signed in."
    on = [each for each in browsers if each.next.outcome == "keeps"]
    deals = ", ".join(f"deal {deal_id}" for deal_id in sorted({each.next.deal_id for each in on if each.next.deal_id}))
    what = f"{len(on)} of them on {deals}" if on else "none of them on a deal"
    return f"{count(len(browsers), 'browser is', 'browsers are')} signed in, {what}."


def pointer(user: User, deal: DealState | None, *, enabled: bool) -> str:
    parts = []
    if user.last_deal_id is None:
        cleared = user.last_deal_cleared_at
        parts.append(f"None: the person cleared it on {_moment(cleared)}." if cleared else "None is remembered.")
    else:
        parts.append(f"Deal {user.last_deal_id}, selected {_moment(user.last_deal_accessed_at)}; {_standing(deal)}.")
    if not user.remember_last_deal:
        parts.append("“Remember my last deal” is off.")
    if not enabled:
        parts.append("Auto-restore is switched off.")
    return " ".join(parts)


def only_deal(visible: int, user: User, switched_off_in: list[Browser]) -> str:
    if visible != 1:
        return f"Does not apply: this person sees {count(visible, 'deal')}."
    if user.last_deal_id is not None and user.remember_last_deal:
        return "Not asked: a last deal is remembered."
    if user.last_deal_cleared_at:
        return "Off until the next selection: the person cleared the last one."
    off = f" It is off in {count(len(switched_off_in), 'session')}, where a deal was taken away." if switched_off_in else ""
    return f"Applies: this person sees one deal.{off}"


def deal_list(next_: Outlook) -> str:
    return "Shown: nothing above answered." if next_.outcome == "none" else "Shown where nothing above answers."


def count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _nothing(reason: str, facts: Facts) -> str:
    sentences = {
        "switched_off_by_environment": "AUTO_RESTORE_DEAL=false switches auto-restore off for everybody.",
        "switched_off_by_organisation": "this person's organisation switched auto-restore off.",
        "switched_off_by_operator": f"{_switcher(facts.switch)} switched auto-restore off for everybody.",
        "remember_off": "the person does not want their last deal remembered.",
        "cleared": f"the person cleared their selection on {_moment(facts.user.last_deal_cleared_at)}.",
        "already_refused": f"{_why_not(facts)} This session has been told so.",
        "withdrawn": f"{_why_not(facts)} The pointer was cleared then.",
        "granted_again": f"access to deal {facts.deal_id} was taken away, which cleared the pointer, and given back since.",
        "waits": "this session found nothing less than a minute ago.",
        "undecided": f"no deal was ever selected, and {facts.visible} can be seen.",
        "sees_none": "this person can see no deal.",
    }
    return sentences[reason]


def _why_not(facts: Facts) -> str:
    deal = f"deal {facts.deal_id}"
    if facts.deal and facts.deal.state == "deleted":
        return f"{deal} is in the bin since {_moment(facts.deal.deleted_at)}."
    if facts.deal and facts.deal.state == "grant_ended":
        return f"the grant to {deal} ended on {_moment(facts.deal.access_until)}."
    by = (
        f" on {_moment(facts.withdrawn.at)} by {facts.withdrawn.by}" if facts.withdrawn and facts.withdrawn.kind == "member.revoked" else ""
    )
    return f"access to {deal} was withdrawn{by}."


def _standing(deal: DealState | None) -> str:
    if deal is None:
        return "the deal is no more"
    if deal.state == "visible":
        until = f" until {_moment(deal.access_until)}" if deal.access_until else ""
        return f"may be seen as {deal.role}{until}{', archived' if deal.archived else ''}"
    sentences = {
        "deleted": f"in the bin since {_moment(deal.deleted_at)}",
        "grant_ended": f"the grant ended on {_moment(deal.access_until)}",
    }
    return sentences.get(deal.state, "no access")


def _switcher(switch: Switch | None) -> str:
    return f"On {_moment(switch.changed_at)} {switch.changed_by or 'an operator'}" if switch else "An operator"


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "an unknown date"
