"""Well-known addresses: security.txt (RFC 9116), change-password, robots.txt."""

from datetime import timedelta

from quart import Blueprint, Response, url_for
from quart.typing import ResponseReturnValue

from app.core.errors import NotFound
from app.http.web import current_resources, public, signed_in
from app.pages.kit.flash import see_other

blueprint = Blueprint("well_known", __name__)

# RFC 9116 asks for less than a year. Renewed each day, it never expires while the site runs.
SECURITY_TXT_LIFE = timedelta(days=180)


@blueprint.get("/.well-known/security.txt")
@public
async def security_txt() -> ResponseReturnValue:
    """404 without SECURITY_CONTACT."""
    resources = current_resources()
    if not resources.settings.security_contact:
        raise NotFound
    midnight = resources.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    lines = [f"Contact: {contact}" for contact in resources.settings.security_contact]
    lines.append(f"Expires: {midnight + SECURITY_TXT_LIFE:%Y-%m-%dT%H:%M:%SZ}")
    scheme = "https" if resources.settings.is_production else None
    lines.append(f"Canonical: {url_for('well_known.security_txt', _external=True, _scheme=scheme)}")
    lines.append("Preferred-Languages: en")
    return Response("\n".join(lines) + "\n", content_type="text/plain; charset=utf-8")


@blueprint.get("/.well-known/change-password")
@signed_in
async def change_password() -> ResponseReturnValue:
    """For password managers. Who is not signed in signs in first and is led here again."""
    return see_other(url_for("account_pages.profile", _anchor="current_password"))


@blueprint.get("/robots.txt")
@public
async def robots() -> ResponseReturnValue:
    return Response("User-agent: *\nDisallow: /\n", content_type="text/plain; charset=utf-8")
