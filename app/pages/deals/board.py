"""The board: deals by stage, each column as long as its address says."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from quart import Blueprint, render_template
from quart.typing import ResponseReturnValue

from app.deals.board import load_board
from app.http.query import MAX_ON_A_PAGE
from app.http.ratelimit import limit_rate
from app.http.web import current_resources, current_user, signed_in
from app.models import STAGES
from app.pages.deals.list import list_state
from app.pages.kit.place import Asked
from app.pages.kit.shell import asked_deals, current_id, shell_values

board = Blueprint("board", __name__)

CARDS = 20


@board.get("/deals/board")
@signed_in
async def show_board() -> ResponseReturnValue:
    resources, user = current_resources(), current_user()
    await limit_rate(resources, "list", user.id, resources.settings.rate_limit_list)
    async with resources.database.read() as db:
        values = await shell_values(db, page="board")
        asked = Asked("board")
        for name in ("stage", "cursor", "limit"):
            asked.args.pop(name, None)
        query, values["filename"] = await asked_deals(db, asked)
        shown = {stage: _length(asked.args.get(stage, "")) for stage in STAGES}
        columns = await load_board(db, user.id, query, shown, current_deal_id=current_id(), now=resources.clock.now())
    state = list_state(query, view="board")
    longer = {column.stage: _longer(asked.args, column.stage, shown[column.stage]) for column in columns}
    total = sum(column.total for column in columns)
    moving = {"moving": asked.args.get("move", ""), "move_url": _address(asked.args, move="")}
    values |= (
        moving
        | {"back_url": _address(asked.args, done="moved")}
        | {"columns": columns, "longer": longer, "total": total, "most": MAX_ON_A_PAGE}
    )
    return await render_template("deals/board.html", **state, **values)


def _length(text: str) -> int:
    """How many cards a column shows: what the address says, in whole steps up to the most there is on a page."""
    steps = int(text) // CARDS if text.isascii() and text.isdigit() and len(text) < 4 else 1
    return min(max(steps, 1) * CARDS, MAX_ON_A_PAGE)


def _longer(args: Mapping[str, Any], stage: str, length: int) -> str:
    return f"{_address(args, **{stage: str(length + CARDS)})}#stage-{stage}"


def _address(args: Mapping[str, Any], **changes: str) -> str:
    """This board with `changes`; an empty one is left to be filled in."""
    wanted = {name: value for name, value in args.items() if value and name not in ("move", "done")} | changes
    return f"/deals/board?{urlencode(wanted)}" if wanted else "/deals/board"
