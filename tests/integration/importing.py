"""Files of deals, sent and followed as the page for imports does."""

from typing import Any

from sqlalchemy import func, select

from app.core.database import Database
from app.models import Deal
from tests.integration.scene import Scene

CSV = {"Content-Type": "text/csv"}

HEADING = "Target,Acquirer,Year,Price,Date,Remark\n"

GOOD = HEADING + "Nest,Google,2014,$3.2bn,13/01/2014,home\nWaze,Google,2013,$966m,11/06/2013,maps\n"


async def send(scene: Scene, content: str | bytes, *, start: bool = True, who: str = "admin", name: str = "deals.csv") -> dict[str, Any]:
    path = f"/api/imports?filename={name}&start={str(start).lower()}"
    status, body = await scene.call(who, "POST", path, data=content if isinstance(content, bytes) else content.encode(), headers=CSV)
    assert status == 202, body
    found: dict[str, Any] = body["import"]
    return found


async def look(scene: Scene, import_id: int, who: str = "admin") -> dict[str, Any]:
    status, body = await scene.call(who, "GET", f"/api/imports/{import_id}")
    assert status == 200, body
    found: dict[str, Any] = body["import"]
    return found


async def quiet(*_: Any, **__: Any) -> None:
    """Nobody is told how far it is."""


async def count(database: Database, *which: Any, of: Any = Deal) -> int:
    async with database.read() as db:
        return await db.scalar(select(func.count()).select_from(of).where(*which)) or 0


def deals_of(scene: Scene) -> Any:
    return Deal.organisation_id == scene.organisation.id, Deal.id != scene.deal.id
