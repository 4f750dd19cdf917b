"""Django with `cached_db`: sessions in SQL, a copy of each in Redis.

Documented default (Sessions → "Using cached sessions"): CACHES with Django's own RedisCache, SESSION_ENGINE cached_db.
Beyond it: `socket_timeout` in the cache's OPTIONS, which Django hands to redis-py.
"""

import os

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

TIMEOUT = float(os.environ["REDIS_TIMEOUT_SECONDS"])
CACHE = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": os.environ["REDIS_URL"]}

settings.configure(
    SECRET_KEY="only-for-this-comparison",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.cached_db",
    CACHES={"default": CACHE | {"OPTIONS": {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}}},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "django.db"}},
)
django.setup()


def login(request: HttpRequest, name: str) -> HttpResponse:
    request.session.cycle_key()
    request.session["user"] = name
    return HttpResponse(status=204)


def logout(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return HttpResponse(status=204)


def write(request: HttpRequest, key: str, value: str) -> HttpResponse:
    if "user" not in request.session:
        return HttpResponse(status=401)
    request.session[key] = value
    return HttpResponse(status=204)


def read(request: HttpRequest) -> HttpResponse:
    return JsonResponse(dict(request.session.items()), status=200 if "user" in request.session else 401)


urlpatterns = [
    path("login/<name>", login),
    path("logout", logout),
    path("set/<key>/<value>", write),
    path("session", read),
]
app = WSGIHandler()

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
