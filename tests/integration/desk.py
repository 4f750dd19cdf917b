"""An operator at the console of a small site."""

from typing import Any

from quart import Quart
from sqlalchemy import insert, select

from app.models import Event, JobRun
from tests.factories import make_user
from tests.integration.scene import Scene
from tests.jobs import WorkerHere


class Desk:
    """An operator at the console of a small site."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.resources = scene, scene.resources

    @classmethod
    async def set(cls, app: Quart) -> "Desk":
        desk = cls(await Scene.set(app))
        desk.scene.users["operator"] = await make_user(desk.resources.database, is_operator=True, email="operator@test.example")
        await desk.scene.client("operator")
        return desk

    async def get(self, path: str) -> Any:
        status, body = await self.scene.call("operator", "GET", path)
        assert status == 200, (path, status, body)
        return body

    async def page(self, path: str) -> str:
        client = await self.scene.client("operator")
        response = await client.get(path)
        assert response.status_code == 200, (path, response.status_code)
        return str(await response.get_data(as_text=True))

    async def post(self, path: str, **form: str) -> str:
        """Where the form leads."""
        client = await self.scene.client("operator")
        response = await client.post(path, form=form)
        assert response.status_code == 303, (path, response.status_code, await response.get_data(as_text=True))
        return str(response.headers["Location"])

    async def runs(self, *statuses: str, **values: Any) -> list[int]:
        """Runs as a worker would have left them; their ids."""
        now = self.resources.clock.now()
        row = {"trigger": "cli", "due_at": now, "queued_at": now, "started_at": now, "payload": {}, "counts": {}, "earlier_attempts": []}
        row |= {"name": "expire_sessions"} | values
        async with self.resources.database.write() as db:
            ends = {"succeeded", "failed", "cancelled"}
            rows = [row | {"status": status, "finished_at": now if status in ends else None} for status in statuses]
            return list(await db.scalars(insert(JobRun).returning(JobRun.id), rows))

    async def schedule(self) -> None:
        """As the first worker writes it down."""
        await WorkerHere(self.resources).scheduler.tick()

    async def operators_events(self) -> list[str]:
        async with self.resources.database.read() as db:
            mine = select(Event.kind).where(Event.actor_id == self.scene.id_of("operator"), Event.kind.not_like("login%"))
            return list(await db.scalars(mine.order_by(Event.id)))
