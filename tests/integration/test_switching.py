"""Switching and its undo, where a person starts, what they find first, and the pages that do it by form."""

import gzip
import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from app.core.config import Settings, load_settings
from app.models import STAGES, Deal, Member
from tests.counting import Counted, counting
from tests.factories import make_deal, make_member
from tests.fakes import FakeClock
from tests.integration.scene import Scene
from tests.integration.test_costs import lose_session

# Pages and rules above SQL; searching and what it costs run on both.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    # The look at the flag goes on in the background, at a pace that no test waits for: statements are counted here.
    return load_settings(environ | {"SESSION_BACKEND_POLL_SECONDS": "3600", "PROBE_INTERVAL_SECONDS": "3600"})


async def second_deal(scene: Scene, name: str = "YouTube") -> Deal:
    return await make_deal(scene.resources.database, scene.organisation, owner=scene.users["owner"], name=name)


async def session_of(scene: Scene, who: str) -> dict[str, Any]:
    return (await scene.sessions(who))[-1].data


@on_sqlite
async def test_undone_restore_counts_in_its_own_session_only(scene: Scene) -> None:
    await second_deal(scene)
    await scene.select("owner")
    again = await scene.client("owner", again=True)

    async def current(client: Any = again) -> Any:
        body = await (await client.get("/api/deals/current")).get_json()
        return body["deal"] and body["deal"]["id"], body["source"], body["notice"] and body["notice"]["code"]

    assert await current() == (scene.deal.id, "restored", "restored")
    answer = await again.post("/api/deals/current/undo")
    assert (answer.status_code, (await answer.get_json())["deal"]) == (200, None)
    assert await current() == (None, "none", None)
    assert await current(await scene.client("owner")) == (scene.deal.id, "selected", None), "nobody else is moved"
    assert (await scene.user("owner")).last_deal_id == scene.deal.id
    assert await current(await scene.client("owner", again=True)) == (scene.deal.id, "restored", "restored")
    # Once is enough, and nothing that was chosen is undone.
    assert (await again.post("/api/deals/current/undo")).status_code == 200
    await scene.call("owner", "POST", "/api/deals/current/undo")
    assert (await scene.current("owner"))["source"] == "selected"
    [told] = await scene.events("deal.restore_undone")
    assert (told.actor_id, told.user_id, told.deal_id) == (scene.id_of("owner"), scene.id_of("owner"), scene.deal.id)

    # The minute for which nothing is looked for is not what keeps it away.
    assert isinstance(scene.resources.clock, FakeClock)
    scene.resources.clock.advance(timedelta(hours=1))
    assert await current() == (None, "none", None)
    assert (await again.post(f"{scene.path}/select")).status_code == 200
    assert "restore_undone" not in await session_of(scene, "owner")


@on_sqlite
async def test_undo_of_a_switch_goes_back_and_offers_no_undo_itself(scene: Scene) -> None:
    youtube = await second_deal(scene)
    client = await scene.client("owner")

    async def select(deal: Deal) -> Any:
        await client.post(f"/api/deals/{deal.id}/select")
        return (await session_of(scene, "owner")).get("previous_deal", {}).get("id")

    assert (await select(scene.deal), await select(youtube), await select(youtube)) == (None, scene.deal.id, scene.deal.id)
    assert "Switched to" not in await (await client.get("/deals")).get_data(as_text=True), "it is said in the deal"
    page = await (await client.get(f"/deals/{youtube.id}/team")).get_data(as_text=True)
    assert "Switched to <strong>YouTube</strong>" in page
    assert (await scene.current("owner"))["notice"] is None
    form = {"deal_id": str(scene.deal.id), "page": "team", "undo": "1"}
    answer = await client.post("/workspace/select", form=form)
    assert answer.headers["Location"] == f"/deals/{scene.deal.id}/team"
    assert "Switched to" not in await (await client.get(answer.headers["Location"])).get_data(as_text=True)

    await select(youtube)
    await client.post("/api/notices/dismiss", json={"code": "switched"})
    assert "Switched to" not in await (await client.get(f"/deals/{youtube.id}/team")).get_data(as_text=True)
    await select(scene.deal)
    assert isinstance(scene.resources.clock, FakeClock)
    scene.resources.clock.advance(timedelta(seconds=9))
    assert "Switched to" not in await (await client.get("/deals")).get_data(as_text=True)


@on_sqlite
async def test_start_is_the_last_deal_the_list_or_a_deal_one_may_see(scene: Scene) -> None:
    youtube = await second_deal(scene)
    foreign = await make_deal(scene.resources.database, scene.elsewhere)
    await make_member(scene.resources.database, youtube, scene.users["viewer"])
    await scene.select("viewer")
    client = await scene.client("viewer")

    async def start() -> str | None:
        return (await client.get("/")).headers["Location"]

    assert await start() == f"/deals/{scene.deal.id}/overview"
    status, body = await scene.call("viewer", "PATCH", "/api/me", json={"start_at": "deal", "start_deal_id": youtube.id})
    assert (status, body["user"]["start_at"], body["user"]["start_deal_id"]) == (200, "deal", youtube.id)
    assert await start() == f"/deals/{youtube.id}/overview"
    again = await scene.client("viewer", again=True)
    assert (await again.get("/")).headers["Location"] == f"/deals/{youtube.id}/overview", "on every device"
    # Whether others have such a deal is not to be learnt here.
    answers = [
        await scene.call("viewer", "PATCH", "/api/me", json={"start_at": "deal", "start_deal_id": number}) for number in (foreign.id, 10**9)
    ]
    assert [(status, body["code"]) for status, body in answers] == [(400, "unknown_deal")] * 2
    for wrong in ({"start_at": "deal"}, {"start_at": "list", "start_deal_id": youtube.id}, {"start_deal_id": youtube.id}):
        assert (await scene.call("viewer", "PATCH", "/api/me", json=wrong))[0] == 400

    async with scene.resources.database.write() as db:
        await db.execute(delete(Member).where(Member.deal_id == youtube.id))
    assert await start() == f"/deals/{scene.deal.id}/overview"
    async with scene.resources.database.write() as db:
        await db.execute(delete(Deal).where(Deal.id == youtube.id))
    await lose_session(scene)
    assert (await scene.call("viewer", "GET", "/api/me"))[1]["user"]["start_at"] == "last_deal"
    settings = {"start_at": "list", "theme": "dark"}
    assert (await client.post("/settings", form=settings)).status_code == 303
    assert await start() == "/deals"


@on_sqlite
async def test_choosing_a_deal_leads_to_the_page_it_was_left_on(scene: Scene) -> None:
    """From outside of a deal. From a page inside one it leads to the same page; an undo to where the deal before was left."""
    youtube, client = await second_deal(scene), await scene.client("owner")
    await client.post(f"{scene.path}/select?page=team")
    await client.post(f"/api/deals/{youtube.id}/select?page=checklist")

    async def forms(path: str) -> list[str]:
        """The pages that the forms of a page ask for, switcher, undo and lists."""
        page = await (await client.get(path)).get_data(as_text=True)
        forms = [rest.split("</form>")[0] for rest in page.split('action="/workspace/select"')[1:]]
        return [found for form in forms for found in re.findall(r'name="page" value="(.*?)"', form)]

    async def choose(deal: Deal, page: str) -> str:
        return (await client.post("/workspace/select", form={"deal_id": str(deal.id), "page": page})).headers["Location"]

    assert await forms("/deals") == [""]
    assert await forms("/deals/999999/findings") == ["", ""], "a deal that is gone has no page to be taken along"
    assert await choose(scene.deal, "") == f"/deals/{scene.deal.id}/team"
    assert await choose(youtube, "") == f"/deals/{youtube.id}/checklist"
    assert await forms(f"/deals/{youtube.id}/findings") == ["findings"], "its undo names no page"
    assert await choose(scene.deal, "findings") == f"/deals/{scene.deal.id}/findings"
    for path in ("/deals", "/deals/board"):
        page = await (await client.get(path)).get_data(as_text=True)
        assert f'href="/deals/{youtube.id}"' in page
        assert "/overview" not in page
    assert (await client.get(f"/deals/{youtube.id}")).headers["Location"] == f"/deals/{youtube.id}/checklist"


async def test_what_is_called_so_is_found_first(scene: Scene) -> None:
    """Names that begin with it, names with such a word, names that hold it, what only mentions it; page after page."""
    names = ["Skype", "skyline", "Blue Sky", "Whisky", "Été du sky", "Maps"]
    for name in names:
        tagline = "Maps of the sky" if name == "Maps" else ""
        await make_deal(scene.resources.database, scene.organisation, owner=scene.users["owner"], name=name, tagline=tagline)
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        _, body = await scene.call("owner", "GET", f"/api/deals?q=SKY&sort=match&limit=2&cursor={cursor}")
        found += [deal["name"] for deal in body["deals"]]
        cursor = body["next_cursor"]
    assert found[:2] == ["skyline", "Skype"]
    assert set(found[2:4]) == {"Blue Sky", "Été du sky"}
    assert found[4:] == ["Whisky", "Maps"]
    _, body = await scene.call("owner", "GET", "/api/deals?q=%C3%89T%C3%89&sort=match")
    assert [deal["name"] for deal in body["deals"]] == ["Été du sky"]


async def test_board_and_list_cost_the_same_for_few_deals_and_many(scene: Scene) -> None:
    client = await scene.client("owner")

    async def cost(path: str) -> int:
        counted = Counted()
        with counting(scene.resources.database, counted):
            assert (await client.get(path)).status_code == 200
        return len(counted.statements)

    paths = ("/deals", "/deals/board", "/deals/bin", "/notices")
    await second_deal(scene)
    await scene.select("owner")
    few = [await cost(path) for path in paths]
    for number in range(50):
        stage = STAGES[number % 2]
        deal = await make_deal(
            scene.resources.database, scene.organisation, owner=scene.users["owner"], name=f"Deal {number:02}", stage=stage
        )
        if number < 8:
            await client.post(f"/deals/{deal.id}/pin", form={})
        if number > 46:
            await client.post(f"/deals/{deal.id}/delete", form={})
    assert [await cost(path) for path in paths] == few
    page = await (await client.get("/deals/board?sort=name")).get_data(as_text=True)
    assert page.count("data-card=") == 20 + 20
    page = await (await client.get("/deals/board?sort=name&sourcing=40&stage=closed")).get_data(as_text=True)
    assert page.count("data-card=") == 20 + 24, "a column is as long as its address says; it has no other stage"
    assert "Show more" in page
    page = await (await client.get("/deals")).get_data(as_text=True)
    assert page.index("Pinned</p>") < page.index('value="1"') if "Recent</p>" in page else "Pinned</p>" in page


@on_sqlite
async def test_forms_keep_the_rules_of_the_api(scene: Scene) -> None:
    """Role, version, what is gone; `next` leads nowhere else."""
    deal = f"/deals/{scene.deal.id}"
    moved = {"stage": "signing", "version": "1"}

    async def post(who: str, path: str, form: dict[str, str]) -> tuple[int, str]:
        answer = await (await scene.client(who)).post(path, form=form)
        return answer.status_code, answer.headers.get("Location", "")

    for path in ("/pin", "/unpin", "/archive", "/unarchive", "/delete", "/restore", "/start"):
        assert (await post("stranger", deal + path, {}))[0] == 404, path
    for path in ("/archive", "/unarchive", "/delete", "/restore"):
        assert (await post("viewer", deal + path, {}))[0] == 403, path
    assert (await post("viewer", f"{deal}/stage", moved))[0] == 403
    assert await post("editor", f"{deal}/stage", moved | {"next": "//evil.example"}) == (303, "/")
    assert (await post("editor", f"{deal}/stage", moved))[0] == 409, "it has moved on"
    assert (await post("editor", f"{deal}/stage", {"stage": "nowhere", "version": "2"}))[0] == 400
    assert (await post("editor", f"{deal}/delete", {}))[0] == 403
    assert await post("owner", f"{deal}/delete", {}) == (303, f"/deals?deleted={scene.deal.id}")
    page = await (await (await scene.client("owner")).get(f"/deals?deleted={scene.deal.id}")).get_data(as_text=True)
    assert "<strong>Mojang</strong> is in the bin" in page
    page = await (await (await scene.client("viewer")).get(f"/deals?deleted={scene.deal.id}")).get_data(as_text=True)
    assert "is in the bin" not in page
    assert (await post("viewer", f"{deal}/restore", {}))[0] == 404
    assert (await post("admin", f"{deal}/restore", {}))[0] == 303


@on_sqlite
async def test_text_is_compressed_for_those_who_take_it(scene: Scene) -> None:
    client = await scene.client("owner")
    page = await client.get("/deals", headers={"Accept-Encoding": "br, gzip"})
    assert (page.headers["Content-Encoding"], page.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert b"</html>" in gzip.decompress(await page.get_data(as_text=False))
    for path in ("holdfast.css", "js/shell.js", "vendor/lucide.svg"):
        plain, packed = [await client.get(f"/static/{path}", headers={"Accept-Encoding": way}) for way in ("identity", "gzip")]
        assert "Content-Encoding" not in plain.headers
        assert gzip.decompress(await packed.get_data(as_text=False)) == await plain.get_data(as_text=False)
        assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 2
        assert packed.headers["ETag"] == f"W/{plain.headers['ETag']}", "other bytes are not the same answer, strictly"
        known = await client.get(f"/static/{path}", headers={"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]})
        assert known.status_code == 304
    small = await client.get("/api/deals/current", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in small.headers
