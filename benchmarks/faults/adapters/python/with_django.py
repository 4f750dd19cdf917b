"""Django with its sessions and its users. SESSIONS names the engine: `cached_db` (SQL, a copy of each session in Redis) or `cache`.

As documented: CACHES with Django's own RedisCache, SESSION_ENGINE, `login` and `logout` of django.contrib.auth; a new password ends a
person's sessions, which is what `revoke-all` is here. Beyond it: `socket_timeout` in the cache's OPTIONS, which redis-py gets.
"""

import os
import secrets
from functools import wraps
from pathlib import Path

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

TIMEOUT = float(os.environ["REDIS_TIMEOUT_SECONDS"])
CACHE = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": os.environ["REDIS_URL"]}
NAMES = ("reader", "writer", "leaver", "newcomer")

settings.configure(
    SECRET_KEY="only-for-this-comparison",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware"],
    SESSION_ENGINE=f"django.contrib.sessions.backends.{os.environ.get('SESSIONS', 'cached_db')}",
    CACHES={"default": CACHE | {"OPTIONS": {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}}},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(Path(os.environ["SITE_DIR"]) / "django.db")}},
)
django.setup()

from django.contrib import auth  # noqa: E402  (once there are settings)
from django.contrib.auth.models import User  # noqa: E402


def signed_in(view):
    @wraps(view)
    def guarded(request: HttpRequest, **arguments: str) -> HttpResponse:
        return view(request, **arguments) if request.user.is_authenticated else HttpResponse(status=401)

    return guarded


def login(request: HttpRequest, user: str) -> HttpResponse:
    auth.login(request, User.objects.get(username=user))
    return HttpResponse(status=204)


def logout(request: HttpRequest) -> HttpResponse:
    auth.logout(request)
    return HttpResponse(status=204)


@signed_in
def write(request: HttpRequest, key: str, value: str) -> HttpResponse:
    request.session[key] = value
    return HttpResponse(status=204)


@signed_in
def read(request: HttpRequest, key: str) -> HttpResponse:
    return JsonResponse({"value": request.session.get(key)})


@signed_in
def revoke_all(request: HttpRequest) -> HttpResponse:
    request.user.set_password(secrets.token_hex())
    request.user.save()
    auth.logout(request)
    return HttpResponse(status=204)


@signed_in
def whoami(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": request.user.get_username()})


urlpatterns = [
    path("login/<user>", login),
    path("logout", logout),
    path("set/<key>/<value>", write),
    path("get/<key>", read),
    path("revoke-all", revoke_all),
    path("whoami", whoami),
]
app = WSGIHandler()

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    for each in NAMES:
        User.objects.create_user(each, password=secrets.token_hex())
