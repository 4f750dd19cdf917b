"""The composition root: settings in, app out."""

import json
from datetime import timedelta
from typing import cast
from urllib.parse import urlsplit

from prometheus_client import Counter
from quart import Request, Response, current_app, request
from quart.typing import ResponseReturnValue
from quart_schema import APIKeySecurityScheme, QuartSchema
from werkzeug.routing import RequestRedirect

from app.access.permissions import user_can_access_deal
from app.admin.routes import blueprint as admin
from app.auth.browser import init_device_cookie, write_device_cookie
from app.auth.routes import blueprint as auth
from app.auth.user import make_login_cookie
from app.checklist.routes import blueprint as checklist
from app.core.clock import Clock
from app.core.config import Settings
from app.core.cookies import AUTH, CookieNames, has_plain_cookies
from app.core.hosts import HostRules
from app.core.metrics import METRICS
from app.core.root_path import AddressesAtRoot, at_root, root_path
from app.current_deal.candidate import COLD_CONTEXT
from app.current_deal.restore import auto_restore_deal_context, initial_session_data
from app.current_deal.routes import selection
from app.deals.routes import blueprint as deals
from app.drafts.routes import blueprint as drafts
from app.findings.routes import blueprint as findings
from app.http.app import HoldfastApp
from app.http.busy_answers import BusyAnswers
from app.http.compression import Compression
from app.http.error_handlers import init_errors
from app.http.ids import init_ids, refuse_wrong_ids
from app.http.json_bodies import MAX_BODY_BYTES
from app.http.live import init_live
from app.http.openapi import DOCUMENT, INFO, LOGIN, PathNamed
from app.http.proxies import ProxiesBelieved
from app.http.ratelimit import limit_request
from app.http.security_events import init_security_events, record_refusal
from app.http.security_headers import add_headers, init_security, refuse_foreign_host
from app.http.style_sheets import init_style_sheets
from app.http.uploads import init_uploads
from app.http.web import Access, access_of, check_access, check_role, name_request, public, with_time_budget
from app.imports.routes import blueprint as imports
from app.notices.routes import blueprint as notices
from app.ops.console.site import init_ops
from app.ops.health.routes import health
from app.pages.admin import blueprint as admin_pages
from app.pages.deals.routes import blueprint as workspace
from app.pages.drafts import blueprint as draft_pages
from app.pages.imports import blueprint as import_pages
from app.pages.login import blueprint as login_pages
from app.pages.one_time_links import blueprint as link_pages
from app.pages.settings import blueprint as account_pages
from app.pages.well_known import blueprint as well_known
from app.resources import make_resources
from app.server.drain import drain_of, init_drain
from app.sessions.interface import HoldfastSessions

A_YEAR = timedelta(days=365)
# A site has one root path, or a few behind several proxies.
MAX_DOCUMENTS = 8


def create_app(settings: Settings, *, clock: Clock | None = None) -> HoldfastApp:
    """The site. Its resources open and close with the server."""
    app = HoldfastApp(__name__, static_folder="static", template_folder="templates")
    app.secret_key = settings.secret_key
    app.config["SECRET_KEY_FALLBACKS"] = list(settings.secret_key_fallbacks)
    app.config["MAX_CONTENT_LENGTH"] = 2 * MAX_BODY_BYTES  # the strict limit, with its message, is read_json's
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = A_YEAR  # assets carry a hash of their content in their address
    app.url_map.strict_slashes = False
    init_ids(app)
    init_uploads(app)

    resources = make_resources(
        settings, kind="web", clock=clock, context=COLD_CONTEXT, first_data=initial_session_data, sees_deal=user_can_access_deal
    )
    app.extensions["holdfast"] = resources
    names = CookieNames(plain=has_plain_cookies(settings), suffix=settings.cookie_suffix)
    auth_cookie = make_login_cookie(app, settings, names)
    app.session_interface = HoldfastSessions(  # type: ignore[assignment]
        resources.sessions,
        auth_cookie,
        names=names,
        keys=[*settings.secret_key_fallbacks, settings.secret_key],
    )

    app.jinja_env.add_extension(AddressesAtRoot)
    app.asgi_app = with_time_budget(app.asgi_app, settings.database_timeout)  # type: ignore[method-assign]
    app.busy_answers = BusyAnswers(init_style_sheets(app, reload=not settings.is_production))
    init_security(app, settings)
    init_security_events(app)
    init_device_cookie(app, names)
    init_errors(app)
    parts = (health, auth, deals, selection, drafts, findings, checklist, login_pages, workspace, notices)
    for blueprint in (*parts, draft_pages, imports, import_pages, admin, admin_pages, link_pages, account_pages, well_known):
        app.register_blueprint(blueprint)
    json_provider = app.json
    schema = QuartSchema(
        app,
        openapi_path=None,
        redoc_ui_path=None,
        scalar_ui_path=None,
        swagger_ui_path=None,
        info=INFO,
        openapi_provider_class=PathNamed,
        security_schemes={LOGIN: APIKeySecurityScheme(names.name(AUTH), "cookie")},
    )

    # What it does beside is to make a schema for every dict that is answered, and to write JSON by a slower provider.
    del app.make_response
    app.json = json_provider

    documents: dict[str, bytes] = {}  # by root path; made once, since it takes half a second, in which nobody else is served

    @public
    async def openapi() -> ResponseReturnValue:
        if "" not in documents:
            made = cast(Response, await schema.openapi())
            documents[""] = await made.get_data(as_text=False)
        if root_path() not in documents:
            plain = documents[""]
            if len(documents) >= MAX_DOCUMENTS:
                documents.clear()
            documents.update({"": plain, root_path(): _below_root(plain, names)})
        return Response(documents[root_path()], content_type="application/json")

    app.add_url_rule(DOCUMENT, "openapi", openapi)

    init_live(app, resources)
    init_drain(app, settings.drain_seconds)
    _init_frame(app, HostRules(settings.allowed_hosts))
    init_ops(app, resources)
    own = {rule.rule.split("/")[1] for rule in app.url_map.iter_rules()}
    app.asgi_app = ProxiesBelieved(app.asgi_app, settings, own=own)  # type: ignore[method-assign]

    @app.before_serving
    async def open_resources() -> None:
        await resources.open()

    @app.after_serving
    async def close_resources() -> None:
        await resources.close()

    return app


def _init_frame(app: HoldfastApp, hosts: HostRules) -> None:
    """What stands around every view, in its order."""
    compression, drain = Compression(), drain_of(app)
    counters: dict[tuple[str, int], Counter] = {}

    @app.before_request
    async def before() -> None:
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]
        name_request()
        refuse_foreign_host(asked, hosts)
        access = access_of(app, asked.url_rule.endpoint) if asked.url_rule else Access.PUBLIC
        check_access(access)
        await auto_restore_deal_context()
        await check_role(access)
        await limit_request(app, asked, access)
        refuse_wrong_ids(asked)

    @app.after_request
    async def after(response: Response) -> Response:
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]
        drain.end_connection(response)
        write_device_cookie(response)
        _lead_below_root(response)
        kind = asked.method, response.status_code // 100
        if kind not in counters:
            counters[kind] = METRICS.http_requests.labels(kind[0], f"{kind[1]}xx")
        counters[kind].inc()
        _allow_own_methods(asked, response)
        record_refusal(response)
        add_headers(asked, response)
        smaller = compression.compress(asked, response)
        if smaller is not None:
            await smaller
        return response


def _lead_below_root(response: Response) -> None:
    """What leads to an address of ours leads below the root path; browsers do not read what else a redirect says."""
    if response.status_code == 200 or not (location := response.headers.get("Location")):
        return
    by_framework = isinstance(request.routing_exception, RequestRedirect)
    if by_framework or root_path():
        response.headers["Location"] = at_root(_own_address(location) if by_framework else location)
        if response.status_code in range(300, 400):
            response.set_data(b"")


def _own_address(url: str) -> str:
    """The framework's redirects name the scheme and host it sees, which behind a proxy may be others than the browser's."""
    _, _, path, query, _ = urlsplit(url)
    own = "/" + path.removeprefix(root_path()).lstrip("/")
    return f"{own}?{query}" if query else own


def _below_root(document: bytes, names: CookieNames) -> bytes:
    """The OpenAPI document with the root path its addresses are below, and the cookie's name there."""
    if not root_path():
        return document
    below = json.loads(document) | {"servers": [{"url": root_path()}]}
    below["components"]["securitySchemes"][LOGIN]["name"] = names.name(AUTH)
    return json.dumps(below).encode()


def _allow_own_methods(request: Request, response: Response) -> None:
    """OPTIONS tells what the address itself takes, not what another rule would that matches it, too (`bin` for a deal's id)."""
    if request.method == "OPTIONS" and request.url_rule is not None:
        same = [each for each in current_app.url_map.iter_rules() if each.rule == request.url_rule.rule]
        response.headers["Allow"] = ", ".join(sorted({method for each in same for method in each.methods or ()}))
