"""The composition root: settings in, app out."""

import json
from datetime import timedelta
from typing import cast

from quart import Quart, Response, current_app, request
from quart.typing import ResponseReturnValue
from quart_schema import APIKeySecurityScheme, QuartSchema, hide

from app.admin.import_pages import blueprint as import_pages
from app.admin.pages import blueprint as admin_pages
from app.admin.routes import blueprint as admin
from app.auth.browser import init_device_cookie
from app.auth.link_pages import blueprint as link_pages
from app.auth.pages import blueprint as login_pages
from app.auth.routes import blueprint as auth
from app.auth.user import make_login_cookie
from app.checklist.routes import blueprint as checklist
from app.clock import Clock
from app.compression import init_compression
from app.config import Settings
from app.cookies import AUTH, CookieNames, has_plain_cookies
from app.deals.candidate import COLD_CONTEXT
from app.deals.permissions import user_can_access_deal
from app.deals.restore import auto_restore_deal_context, initial_session_data
from app.deals.routes import blueprint as deals
from app.deals.selection_routes import selection
from app.drain import init_drain
from app.error_handlers import init_errors
from app.findings.routes import blueprint as findings
from app.imports.routes import blueprint as imports
from app.live import init_live
from app.metrics import METRICS
from app.notices.routes import blueprint as notices
from app.openapi import INFO, LOGIN, PathNamed
from app.ops.routes import health
from app.ops.site import init_ops
from app.proxies import ProxiesBelieved
from app.ratelimit import init_rate_limits
from app.resources import make_resources
from app.root_path import AddressesAtRoot, at_root, root_path
from app.security import init_security
from app.security_events import init_security_events
from app.sessions.interface import HoldfastSessions
from app.uploads import init_uploads
from app.web import MAX_BODY_BYTES, check_access, check_role, limit_patience_of, name_request, public
from app.workspace.account_pages import blueprint as account_pages
from app.workspace.routes import blueprint as workspace
from app.workspace.well_known import blueprint as well_known

A_YEAR = timedelta(days=365)


def create_app(settings: Settings, *, clock: Clock | None = None) -> Quart:
    """The site. Its resources open and close with the server."""
    app = Quart(__name__, static_folder="static", template_folder="templates")
    app.secret_key = settings.secret_key
    app.config["SECRET_KEY_FALLBACKS"] = list(settings.secret_key_fallbacks)
    app.config["MAX_CONTENT_LENGTH"] = 2 * MAX_BODY_BYTES  # the strict limit, with its message, is read_json's
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = A_YEAR  # assets carry a hash of their content in their address
    app.url_map.strict_slashes = False
    init_uploads(app)

    house = make_resources(
        settings, kind="web", clock=clock, context=COLD_CONTEXT, first_data=initial_session_data, sees_deal=user_can_access_deal
    )
    app.extensions["holdfast"] = house
    names = CookieNames(plain=has_plain_cookies(settings))
    auth_cookie = make_login_cookie(app, settings, names)
    app.session_interface = HoldfastSessions(  # type: ignore[assignment]
        house.sessions,
        auth_cookie,
        names=names,
        keys=[*settings.secret_key_fallbacks, settings.secret_key],
    )

    app.jinja_env.add_extension(AddressesAtRoot)
    app.asgi_app = limit_patience_of(app.asgi_app, settings.database_timeout)  # type: ignore[method-assign]
    app.before_request(name_request)
    init_compression(app)
    init_security(app, settings)
    app.before_request(check_access)
    app.before_request(auto_restore_deal_context)
    app.before_request(check_role)
    init_rate_limits(app)
    init_security_events(app, names)
    app.after_request(_allow_own_methods)
    app.after_request(_count)
    app.after_request(_lead_below_root)
    init_device_cookie(app, names)
    init_errors(app)
    parts = (health, auth, deals, selection, findings, checklist, login_pages, workspace, notices)
    for blueprint in (*parts, imports, import_pages, admin, admin_pages, link_pages, account_pages, well_known):
        app.register_blueprint(blueprint)
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

    hide(Quart.send_static_file)  # as the extension does where it serves the document itself

    document: list[bytes] = []

    @hide
    @public
    async def openapi() -> ResponseReturnValue:
        if not document:  # made once a process: it takes half a second, in which nobody else is served
            made = cast(Response, await schema.openapi())
            document.append(await made.get_data(as_text=False))
        return Response(_below_root(document[0], names), content_type="application/json")

    app.add_url_rule("/api/openapi.json", "openapi", openapi)

    init_live(app, house)
    init_drain(app, settings.drain_seconds)
    init_ops(app, house)
    own = {rule.rule.split("/")[1] for rule in app.url_map.iter_rules()}
    app.asgi_app = ProxiesBelieved(app.asgi_app, settings, own=own)  # type: ignore[method-assign]

    @app.before_serving
    async def open_resources() -> None:
        await house.open()

    @app.after_serving
    async def close_resources() -> None:
        await house.close()

    return app


async def _lead_below_root(response: Response) -> Response:
    """What leads to an address of ours leads below the root path; browsers do not read what else a redirect says."""
    location = response.headers.get("Location")
    if location and root_path():
        response.headers["Location"] = at_root(location)
        if response.status_code in range(300, 400):
            response.set_data(b"")
    return response


def _below_root(document: bytes, names: CookieNames) -> bytes:
    """The OpenAPI document with the root path its addresses are below, and the cookie's name there."""
    if not root_path():
        return document
    below = json.loads(document) | {"servers": [{"url": root_path()}]}
    below["components"]["securitySchemes"][LOGIN]["name"] = names.name(AUTH)
    return json.dumps(below).encode()


async def _allow_own_methods(response: Response) -> Response:
    """OPTIONS tells what the address itself takes, not what another rule would that matches it, too (`bin` for a deal's id)."""
    if request.method == "OPTIONS" and request.url_rule is not None:
        same = [each for each in current_app.url_map.iter_rules() if each.rule == request.url_rule.rule]
        response.headers["Allow"] = ", ".join(sorted({method for each in same for method in each.methods or ()}))
    return response


async def _count(response: Response) -> Response:
    METRICS.http_requests.labels(request.method, f"{response.status_code // 100}xx").inc()
    return response
