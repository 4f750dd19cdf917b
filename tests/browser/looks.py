"""What `screenshots` takes pictures of: who looks at which address, and what they did there. The rows beyond `seed-demo`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from playwright.async_api import Page
from sqlalchemy import insert, select, update

from app.core.database import Database
from app.demo.seed import DEMO_PASSWORD as PASSWORD
from app.models import DeadLetter, Deal, Event, Finding, Import, JobRun, Member, OneTimeLink, Pin, Revision, User, UserNotice, Visit
from app.sessions.token import hash_token

__all__ = ["PASSWORD", "STATES", "State", "prepare"]

Act = Callable[[Page], Awaitable[None]]

LEAD, ANALYST, ADMIN = (f"{part}@google.example" for part in ("lead", "analyst", "admin"))
NOBODY, OPERATOR = "nobody@microsoft.example", "operator@holdfast.example"
# Longer than any page of a list.
MANY = 60
TOKEN = "a-link-that-never-ends"
ROWS = "Target,Buyer,Year,Price,Announced,Remark\n"
BAD = ROWS + "Alpine,Google,2026,$120m,03/02/2026,maps\n,Google,2026,$5m,04/02/2026,who?\nBlue,Google,2026,$1bn,13/32/2026,robots\n"
ODD = ROWS + "Alpine,Google,2026,$120m,03/02/2026,maps\nCyan,Google,2026,$5m,04/05/2026,\n"
CONTRADICTING = ROWS + "Alpine,Google,2026,$120m,9/15/2026,maps\nCyan,Google,2026,$5m,15/9/2026,\n"
NO_SEARCH = "?q=zebra"


@dataclass(frozen=True)
class State:
    """`address` is formatted with the ids that `prepare` found; `act` happens after it is open."""

    name: str
    who: str
    address: str
    act: Act | None = None
    scripted: bool = True
    printed: bool = False
    widths: tuple[int, ...] = ()


async def prepare(database: Database, now: datetime) -> dict[str, Any]:
    """Lay out what the states need beyond the demo. Returns the ids their addresses name."""
    async with database.write() as db:
        people = {row.email: row for row in await db.scalars(select(User))}
        lead, analyst, admin = people[LEAD], people[ANALYST], people[ADMIN]
        home = lead.organisation_id
        of_lead = select(Deal.id).where(Deal.organisation_id == home, Deal.owner_id == lead.id).order_by(Deal.id)
        youtube = (await db.scalars(select(Deal.id).where(Deal.name == "YouTube"))).one()
        plain, archived, *more = [id_ for id_ in await db.scalars(of_lead) if id_ != youtube]
        await db.execute(update(Deal).where(Deal.id == archived).values(archived_at=now))
        await db.execute(update(Deal).where(Deal.id.in_(more[:3])).values(deleted_at=now - timedelta(days=3)))
        for user in (lead, analyst):
            await db.execute(insert(Pin), [{"user_id": user.id, "deal_id": id_, "pinned_at": now} for id_ in (youtube, plain)])
        await db.execute(insert(Member), [_member(id_, analyst.id, role, now) for id_, role in ((plain, "viewer"), (archived, "editor"))])
        granted = {"expires_at": now + timedelta(days=9), "granted_by_id": lead.id}
        await db.execute(insert(Member).values(**_member(youtube, analyst.id, "editor", now) | granted))
        await db.execute(insert(Visit), [{"user_id": lead.id, "deal_id": id_, "visited_at": now} for id_ in (plain, archived)])
        busy = more[4]
        work = {"deal_id": busy, "created_at": now, "updated_at": now, "severity": "low", "status": "open", "text": "Much **to do**."}
        await db.execute(insert(Finding), [work | {"number": each, "title": f"Finding {each} of many"} for each in range(1, MANY + 1)])
        event = {"at": now, "organisation_id": home, "actor_id": lead.id, "user_id": analyst.id, "deal_id": busy, "request_id": ""}
        kinds = ("member.granted", "deal.updated", "member.revoked")
        events = [event | {"kind": kinds[each % 3], "payload": {"role": "editor", "fields": ["price_usd"]}} for each in range(MANY)]
        ids = list(await db.scalars(insert(Event).returning(Event.id), events))
        notice = {"user_id": lead.id, "kind": "deal.shared", "actor_id": admin.id, "deal_id": youtube, "payload": {"role": "editor"}}
        rows = [
            notice | {"sequence": each, "event_id": id_, "created_at": now, "read_at": now if each < MANY - 3 else None}
            for each, id_ in enumerate(ids, start=1)
        ]
        await db.execute(insert(UserNotice), rows)
        await _add_people(db, home, admin.id, now)
        imports = await _add_imports(db, home, admin.id, now)
        failed = await _add_runs(db, now)
        finding = (await db.scalars(select(Finding.id).where(Finding.deal_id == youtube).order_by(Finding.id))).first()
        await db.execute(update(Finding).where(Finding.id == finding).values(version=3))
        step = {"kind": "finding", "deal_id": youtube, "item_id": finding, "at": now - timedelta(hours=2), "verb": "updated"}
        steps = [
            step | {"version": 2, "by_id": lead.id, "before": {"severity": "low", "owner_id": analyst.id}},
            step | {"version": 3, "by_id": None, "before": {"text": "As it was.\n\nTo be settled: an indemnity.", "title": "Music"}},
        ]
        await db.execute(insert(Revision), steps)
    named = {"youtube": youtube, "plain": plain, "archived": archived, "deleted": more[0], "busy": busy, "finding": finding}
    return named | imports | {"failed": failed, "analyst": analyst.id, "admin": admin.id, "token": TOKEN, "operator": people[OPERATOR].id}


def _member(deal_id: int, user_id: int, role: str, now: datetime) -> dict[str, Any]:
    return {"deal_id": deal_id, "user_id": user_id, "role": role, "created_at": now}


async def _add_people(db: Any, organisation_id: int, by: int, now: datetime) -> None:
    person = {"organisation_id": organisation_id, "password_hash": "none", "created_at": now}
    people = [person | {"email": f"person{each:02}@google.example", "name": f"Zoe Person {each:02}"} for each in range(MANY)]
    await db.execute(insert(User), people[1:])
    await db.execute(insert(User).values(**people[0], disabled_at=now))
    link = {"organisation_id": organisation_id, "created_by_id": by, "created_at": now, "expires_at": now + timedelta(days=7)}
    links = [{"email": "asked@google.example", "token_hash": hash_token(TOKEN)}, {"email": "too@google.example", "token_hash": "0"}]
    await db.execute(insert(OneTimeLink), [link | each | {"kind": "invitation"} for each in links])


async def _add_imports(db: Any, organisation_id: int, by: int, now: datetime) -> dict[str, int]:
    counts = {"rows": 9, "imported": 2, "updated": 1, "unchanged": 1, "skipped": 0, "refused": 1, "warnings": 1}
    row: dict[str, Any] = {"organisation_id": organisation_id, "user_id": by, "filename": "deals-2029.csv", "size": 900, "found": {}}
    row |= {"layout": {"headings": ["Target"], "fields": ["name"], "samples": [["Nest"]], "encoding": "utf-8"}}
    row |= {"counts": counts, "created_at": now, "updated_at": now, "started_at": now, "position": 300}
    states: dict[str, dict[str, Any]] = {
        "queued": {"state": "queued"},
        "running": {"state": "running"},
        "stuck": {"state": "running", "updated_at": now - timedelta(hours=2)},
        "cancelled": {"state": "cancelled", "finished_at": now},
        "broken": {"state": "failed", "finished_at": now, "error": "unreadable_file"},
        "over": {"state": "done", "finished_at": now},
    }
    for _ in range(MANY // 2):
        await db.execute(insert(Import).values(**row, state="done"))
    return {name: await db.scalar(insert(Import).values(**row | values).returning(Import.id)) for name, values in states.items()}


async def _add_runs(db: Any, now: datetime) -> int:
    row: dict[str, Any] = {
        "name": "expire_sessions",
        "trigger": "cli",
        "due_at": now,
        "queued_at": now,
        "started_at": now,
        "payload": {},
        "counts": {},
    }
    row |= {"earlier_attempts": [], "attempt": 1}
    done = row | {"status": "succeeded", "finished_at": now, "took_ms": 1200, "counts": {"sessions": 3}}
    await db.execute(insert(JobRun), [done] * MANY)
    running = row | {"status": "running", "done": 30, "total": 90, "process_id": "worker-1"}
    await db.execute(insert(JobRun).values(**running))
    words = {"error_class": "TimeoutError", "error": "too slow", "traceback": "Traceback …\n" * 5}
    earlier = {"attempt": 1, "process_id": "worker-1", "started_at": now.isoformat(), "ended_at": now.isoformat(), **words}
    failure = row | {"status": "failed", "finished_at": now, "took_ms": 5000, "attempt": 3, "earlier_attempts": [earlier], **words}
    letter = {"consumer_group": "analytics", "content": {}, "error": "no event", "deliveries": 5, "dead_at": now}
    await db.execute(insert(DeadLetter), [letter | {"entry_id": f"0-{each}", "event_id": each} for each in range(1, 4)])
    failed: int = await db.scalar(insert(JobRun).values(**failure).returning(JobRun.id))
    return failed


def clicks(*selectors: str) -> Act:
    async def act(page: Page) -> None:
        for selector in selectors:
            await page.locator(selector).first.click()

    return act


def sends(values: dict[str, str], button: str) -> Act:
    """Fill in a form and send it; the next page is waited for."""

    async def act(page: Page) -> None:
        for selector, value in values.items():
            field = page.locator(selector).first
            await (field.select_option(value) if await field.evaluate("each => each.localName") == "select" else field.fill(value))
        async with page.expect_navigation():
            await page.locator(button).first.click()

    return act


def uploads(text: str) -> Act:
    async def act(page: Page) -> None:
        await page.set_input_files("#file", {"name": "deals-2030.csv", "mimeType": "text/csv", "buffer": text.encode()})
        async with page.expect_navigation():
            await page.click("[data-upload-button]")

    return act


def presses(key: str, shown: str) -> Act:
    async def act(page: Page) -> None:
        await page.wait_for_load_state("load")
        await page.keyboard.press(key)
        await page.locator(shown).first.wait_for()

    return act


def shows(selector: str, script: str = "each => { each.hidden = false; }") -> Act:
    async def act(page: Page) -> None:
        await page.locator(selector).first.evaluate(script)

    return act


def conflicting(form: str, field: str) -> Act:
    """As if somebody else had saved the same thing meanwhile."""

    async def act(page: Page) -> None:
        await page.locator("[name=version]").first.evaluate("each => { each.value = Number(each.value) - 1; }")
        await page.locator(f"[name=was-{field}]").first.evaluate("each => { each.value = 'as it was'; }")
        await page.fill(f"[name={field}]", "Mine")
        if await page.locator("[name=was-text]").count():
            text = (await page.locator("[name=text]").input_value())[5:].replace("escrow", "retention")
            await page.locator("[name=was-text]").evaluate("(each, text) => { each.value = text; }", "As it was, long ago\n" + text)
            await page.fill("[name=text]", "What I say of it, long ago\n" + text + "\nMy last line")
        async with page.expect_navigation():
            await page.locator(f"{form} .button-primary").first.click()

    return act


TOASTS = """each => {
  for (const [classes, actions] of [["toast", "<a href='#'>Open</a><button class=link-button>Undo</button>"], ["toast amber", ""]]) {
    const one = document.querySelector("[data-toast]").content.firstElementChild.cloneNode(true);
    one.className = classes;
    one.querySelector(".notice-text").textContent = "Somebody changed this page while it was open.";
    one.querySelector(".toast-actions").innerHTML = actions;
    each.append(one);
  }
}"""
INSIDE = "/deals/{youtube}"


def _anonymous() -> list[State]:
    wrong = sends({"#email": "nobody@x.example", "#password": "wrong-password"}, "main button.button-wide")
    return [
        State("login", "", "/login"),
        State("login expired", "", "/deals"),
        State("login refused", "", "/login", wrong),
        State("link", "", "/link?token={token}"),
        State(
            "link refused", "", "/link?token={token}", sends({"#name": "Zed", "#password": "12345678", "#again": "x"}, "main .button-wide")
        ),
        State("link spent", "", "/link?token=x"),
        State("not found, signed out", "", "/nothing"),
        State("login without script", "", "/login", scripted=False),
    ]


def _lists(who: str) -> list[State]:
    shown = ("/deals", "/deals?q=zebra", "/deals?archived=true", "/deals?stage=closed&status=complete")
    found = [State(f"list {address[6:] or 'all'}".replace("?", ""), who, address, printed=True) for address in shown]
    return [
        *found,
        State("list deleted", who, "/deals?deleted={deleted}"),
        State("list import", who, "/deals?import={over}"),
        State("list next", who, "/deals", clicks("[rel=next]")),
        State("list filter open", who, "/deals", clicks(".filters .menu summary"), widths=(360, 1440)),
        State("list export open", who, "/deals", clicks(".page-action .menu summary")),
        State("list switcher", who, "/deals", clicks("[data-switcher] summary")),
        State("list person", who, "/deals", clicks(".bar-end .menu summary")),
        State("list palette", who, "/deals", presses("Control+k", "dialog[open]")),
        State("list keys", who, "/deals", presses("?", "dialog[open]")),
        State("list timeout", who, "/deals", shows("[data-timeout]")),
        State("list toasts", who, "/deals", shows("[data-toasts]", TOASTS)),
        State("board", who, "/deals/board", printed=True),
        State("board moving", who, "/deals/board", clicks("[data-move]")),
        State("board no match", who, "/deals/board?q=zebra"),
        State("board no script", who, "/deals/board", scripted=False),
        State("list no script", who, "/deals", scripted=False),
        State("new deal", who, "/deals/new"),
        State("new deal refused", who, "/deals/new", sends({"#name": "", "#price_usd": "much"}, "main .button-primary")),
        State("bin", who, "/deals/bin", printed=True),
        State("choose", who, "/workspace/nowhere"),
        State("notices", who, "/notices", printed=True),
        State("notices older", who, "/notices", clicks("[rel=next]")),
    ]


def _deal(who: str, prefix: str) -> list[State]:
    pages = ("overview", "findings", "checklist", "team", "activity")
    inside = [State(f"{prefix} {page}", who, f"{INSIDE}/{page}", printed=True) for page in pages]
    return [
        *inside,
        State(f"{prefix} finding", who, INSIDE + "/findings/{finding}", printed=True),
        State(f"{prefix} few facts", who, "/deals/{plain}/overview"),
        State(f"{prefix} archived", who, "/deals/{archived}/overview"),
        State(f"{prefix} no findings", who, "/deals/{plain}/findings"),
        State(f"{prefix} no checklist", who, "/deals/{plain}/checklist"),
        State(f"{prefix} no activity", who, "/deals/{plain}/activity"),
        State(f"{prefix} menu", who, INSIDE + "/overview", clicks(".deal-menu summary")),
        State(f"{prefix} no script", who, INSIDE + "/overview", scripted=False),
    ]


def _work(who: str) -> list[State]:
    saved = sends({"[name=title]": "Saved"}, "main .button-primary")
    return [
        State("findings ticked", who, INSIDE + "/findings", clicks("tbody .tick input")),
        State("findings no match", who, INSIDE + "/findings" + NO_SEARCH),
        State("findings many", who, "/deals/{busy}/findings"),
        State("findings next", who, "/deals/{busy}/findings", clicks("[rel=next]")),
        State("findings no script", who, INSIDE + "/findings", scripted=False),
        State("finding new", who, INSIDE + "/findings/new"),
        State("finding refused", who, INSIDE + "/findings/new", sends({"[name=title]": ""}, "main .button-primary")),
        State("finding edit", who, INSIDE + "/findings/{finding}/edit"),
        State("finding conflict", who, INSIDE + "/findings/{finding}/edit", conflicting("main form.sheet-one", "title")),
        State("finding history", who, INSIDE + "/findings/{finding}/history"),
        State("finding saved", who, INSIDE + "/findings/{finding}/edit", saved),
        State("finding missing", who, INSIDE + "/findings/999999"),
        State("checklist overdue", who, INSIDE + "/checklist?state=overdue"),
        State("checklist templates", who, INSIDE + "/checklist", clicks(".page-act .menu summary")),
        State("checklist refused", who, INSIDE + "/checklist", sends({"#field-title": ""}, "#new-item .button-primary")),
        State("checklist order", who, INSIDE + "/checklist/order"),
        State("checklist item", who, INSIDE + "/checklist", clicks("a.todo-title")),
        State("checklist item form", who, INSIDE + "/checklist", clicks("a.todo-title", "a[href$='/edit']")),
        State("team member", who, INSIDE + "/team/{analyst}"),
        State("team refused", who, INSIDE + "/team", sends({"#field-email": "zebra"}, "#add .button-primary")),
        State("activity many", who, "/deals/{busy}/activity"),
        State("activity older", who, "/deals/{busy}/activity", clicks("[rel=next]")),
        State("activity no match", who, INSIDE + "/activity?what=team"),
        State("deal edit", who, INSIDE + "/edit"),
        State("deal refused", who, INSIDE + "/edit", sends({"[name=name]": ""}, ".sheet-foot .button-primary")),
        State("deal conflict", who, INSIDE + "/edit", conflicting(".sheet-foot", "name")),
        State("gone", who, "/deals/999999/overview"),
        State("not found", who, "/nothing"),
        State("refused", who, "/deals?sort=sideways"),
        State("mismatch", who, INSIDE + "/findings/new", _mismatch),
    ]


async def _mismatch(page: Page) -> None:
    await page.locator("main [name=deal]").last.evaluate("each => { each.value = Number(each.value) + 1; }")
    await page.fill("[name=title]", "Typed for another deal")
    async with page.expect_navigation():
        await page.locator("main .button-primary").first.click()


def _settings(who: str) -> list[State]:
    refused = {"#current_password": "wrong-wrong", "#new_password": "a-long-password", "#again": "a-long-password"}
    return [
        State("settings", who, "/settings"),
        State("profile", who, "/settings/profile"),
        State("profile refused", who, "/settings/profile", sends(refused, "form[action='/settings/password'] .button-primary")),
        State("devices", who, "/settings/devices"),
    ]


def _administration(who: str) -> list[State]:
    invited = sends({"#invite-email": "new@google.example"}, ".invite .button-primary")
    return [
        State("people", who, "/admin/people"),
        State("people next", who, "/admin/people", clicks("[rel=next]")),
        State("people no match", who, "/admin/people" + NO_SEARCH),
        State("people refused", who, "/admin/people", sends({"#invite-email": "lead@google.example"}, ".invite .button-primary")),
        State("people invited", who, "/admin/people", invited),
        State("person", who, "/admin/people/{analyst}"),
        State("person confirm", who, "/admin/people/{analyst}", clicks(".manage details summary")),
        State("person self", who, "/admin/people/{admin}"),
        State("reopen", who, "/admin/restore"),
        State("imports", who, "/imports"),
        State("imports next", who, "/imports", clicks("[rel=next]")),
        State("import refused", who, "/imports", uploads("\x00\x01 no table")),
        State("import preview", who, "/imports", uploads(BAD)),
        State("import question", who, "/imports", uploads(ODD)),
        State("import contradiction", who, "/imports", uploads(CONTRADICTING)),
        *(State(f"import {name}", who, f"/imports/{{{name}}}") for name in ("queued", "running", "stuck", "cancelled", "broken", "over")),
    ]


def _empty(who: str) -> list[State]:
    addresses = ("/deals", "/deals/board", "/deals/bin", "/notices", "/workspace/overview", "/settings", "/admin/people")
    return [State(f"nobody {address[1:].replace('/', ' ')}", who, address) for address in addresses]


def _operations(who: str) -> list[State]:
    opened = clicks(".confirm-row summary")
    pages = ("/ops", "/ops/sessions", "/ops/jobs", "/ops/streams", "/ops/users", "/ops/users?q=google", "/ops/users?q=zebra")
    return [
        *(
            State(f"console {address[1:].replace('/', ' ').replace('?', ' ')}", who, address, printed=address == "/ops")
            for address in pages
        ),
        State("console filtered", who, "/ops/jobs?status=cancelled"),
        State("console failed", who, "/ops/jobs?status=failed"),
        State("console next", who, "/ops/jobs", clicks("[rel=next]")),
        State("console retry", who, "/ops/jobs", opened),
        State("console streams of one", who, "/ops/streams?group=notify"),
        State("console requeue", who, "/ops/streams", opened),
        State("console run", who, "/ops/jobs/runs/{failed}"),
        State("console attempt", who, "/ops/jobs/runs/{failed}", clicks(".attempts summary")),
        State("console person", who, "/ops/users?q=lead@google.example"),
        State("console sign-out", who, "/ops/users?q=operator@holdfast.example", clicks(".confirm-menu summary")),
        State("console numbers", who, "/ops/sessions", shows(".chart-numbers", "each => { each.open = true; }")),
    ]


STATES = [
    *_anonymous(),
    *_lists(LEAD),
    *_deal(LEAD, "owned"),
    *_work(LEAD),
    *_settings(LEAD),
    *_deal(ANALYST, "shared"),
    *_administration(ADMIN),
    *_empty(NOBODY),
    *_operations(OPERATOR),
]
