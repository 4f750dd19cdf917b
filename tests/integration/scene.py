"""One deal and everybody around it, each signed in with a browser of their own."""

from collections.abc import Mapping
from typing import Any

from quart import Quart
from quart.typing import TestClientProtocol as Client
from sqlalchemy import select

from app.models import Deal, Event, Member, Organisation, Session, User
from app.resources import Resources
from tests.factories import PASSWORD, make_deal, make_member, make_organisation, make_user

PEOPLE = ("owner", "admin", "editor", "viewer", "stranger", "outsider", "foreign_admin")


class Scene:
    """`owner`, `editor` and `viewer` stand to the deal as named; `stranger` is of the same organisation and has no grant;
    `outsider` and `foreign_admin` are of another one."""

    resources: Resources
    organisation: Organisation
    elsewhere: Organisation
    deal: Deal
    users: dict[str, User]
    clients: dict[str, Client]

    @classmethod
    async def set(cls, app: Quart) -> "Scene":
        scene = cls()
        scene.app, scene.resources = app, app.extensions["holdfast"]
        database = scene.resources.database
        scene.organisation, scene.elsewhere = await make_organisation(database), await make_organisation(database)
        homes = dict.fromkeys(PEOPLE, scene.organisation) | dict.fromkeys(("outsider", "foreign_admin"), scene.elsewhere)
        roles = {"admin": "admin", "foreign_admin": "admin"}
        scene.users = {who: await make_user(database, home, role=roles.get(who, "member")) for who, home in homes.items()}
        scene.deal = await make_deal(database, scene.organisation, owner=scene.users["owner"], name="Mojang")
        for role in ("editor", "viewer"):
            await make_member(database, scene.deal, scene.users[role], role=role)
        scene.clients = {}
        return scene

    app: Quart

    @property
    def path(self) -> str:
        return f"/api/deals/{self.deal.id}"

    def id_of(self, who: str) -> int:
        return self.users[who].id

    async def client(self, who: str, *, again: bool = False) -> Client:
        """The browser of this person; `again`: another one. That of "nobody" is not signed in."""
        if who == "nobody":
            return self.app.test_client()
        if again or who not in self.clients:
            client = self.app.test_client()
            response = await client.post("/api/auth/login", json={"email": self.users[who].email, "password": PASSWORD})
            assert response.status_code == 200, await response.get_data(as_text=True)
            if again:
                return client
            self.clients[who] = client
        return self.clients[who]

    async def call(self, who: str, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and JSON (None without content) of one request by this person; `~` in `path` is the deal."""
        client = await self.client(who)
        response = await client.open(path.replace("~", self.path), method=method, **options)
        return response.status_code, await response.get_json() if await response.get_data() else None

    async def select(self, who: str) -> None:
        assert (await self.call(who, "POST", "~/select"))[0] == 200

    async def current(self, who: str) -> Mapping[str, Any]:
        status, body = await self.call(who, "GET", "/api/deals/current")
        assert status == 200
        assert isinstance(body, dict)
        return body

    async def events(self, *kinds: str) -> list[Event]:
        async with self.resources.database.read() as db:
            return list(await db.scalars(select(Event).where(Event.kind.in_(kinds)).order_by(Event.id)))

    async def user(self, who: str) -> User:
        async with self.resources.database.read() as db:
            return await db.get_one(User, self.id_of(who))

    async def sessions(self, who: str) -> list[Session]:
        async with self.resources.database.read() as db:
            return list(await db.scalars(select(Session).where(Session.user_id == self.id_of(who)).order_by(Session.id)))

    async def grant_of(self, who: str) -> Member | None:
        async with self.resources.database.read() as db:
            found: Member | None = await db.scalar(select(Member).where(Member.deal_id == self.deal.id, Member.user_id == self.id_of(who)))
            return found
