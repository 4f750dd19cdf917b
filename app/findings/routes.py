"""Findings over HTTP: the list, and what can be done to any thing inside a deal."""

from quart import Blueprint, Response, request

from app.access.permissions import ANY_ROLE
from app.findings.schemas import FindingChanges, FindingList, FindingQuery, NewFinding, OneFinding
from app.findings.service import FINDING
from app.findings.store import list_findings
from app.http.openapi import documented
from app.http.query import parse_query
from app.http.web import current_resources, current_user, signed_in
from app.work.routes import Api, add_routes, as_json, require

blueprint = Blueprint("findings", __name__, url_prefix="/api/deals/<id:deal_id>/findings")


@blueprint.get("")
@documented("findings", FindingList, query=FindingQuery, problems=(400, 404))
@signed_in
async def list_(deal_id: int) -> Response:
    """What the diligence brought to light, page by page."""
    resources, user = current_resources(), current_user()
    await require(deal_id, ANY_ROLE)
    query = parse_query(FindingQuery, request.args)
    async with resources.database.read() as db:
        return as_json(await list_findings(db, user.id, deal_id, query, settings=resources.settings, now=resources.clock.now()))


API = Api(FINDING, "findings", "finding", OneFinding, NewFinding, FindingChanges)
add_routes(blueprint, API, about_create="Write a finding down.")
