"""AUDIT_ENABLED=false keeps no events; what they prove on the way, the access, is proven all the same."""

from sqlalchemy import func, select

from app.core.config import load_settings
from app.factory import create_app
from app.models import Event
from tests.factories import PASSWORD, make_deal, make_member, make_organisation, make_user
from tests.fakes import FakeClock


async def test_without_an_audit_deals_are_selected_and_restored_and_refused(environ: dict[str, str], clock: FakeClock) -> None:
    app = create_app(load_settings(environ | {"AUDIT_ENABLED": "false"}), clock=clock)
    async with app.test_app():
        database = app.extensions["holdfast"].database
        organisation = await make_organisation(database)
        person = await make_user(database, organisation)
        mine, other = [await make_deal(database, organisation) for _ in range(2)]
        await make_member(database, mine, person)
        credentials = {"email": person.email, "password": PASSWORD}
        first, second = app.test_client(), app.test_client()
        await first.post("/api/auth/login", json=credentials)
        assert (await first.post(f"/api/deals/{other.id}/select")).status_code == 404
        assert (await first.post(f"/api/deals/{mine.id}/select")).status_code == 200
        answer = await (await second.post("/api/auth/login", json=credentials)).get_json()
        assert answer["current_deal"]["id"] == mine.id
        async with database.read() as db:
            kinds = dict((await db.execute(select(Event.kind, func.count()).group_by(Event.kind))).all())
        assert not {kind for kind in kinds if not kind.startswith("backend")}
