"""Django with `cached_db`: sessions in SQL, a copy of each in Redis, as documented (Sessions → "Using cached sessions").

SQLite as its documentation recommends for production (transaction_mode, WAL), as durable as Holdfast's.
"""

import os

import django
from deals import DEALS, card
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import connection, models
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"

settings.configure(
    SECRET_KEY="only-for-this-comparison",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.cached_db",
    CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": os.environ["REDIS_URL"]}},
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": "django.db",
            "CONN_MAX_AGE": None,
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": PRAGMAS},
        }
    },
)
django.setup()


class Deal(models.Model):
    name = models.CharField(max_length=200)

    class Meta:
        app_label = "deals"
        db_table = "deals"


def login(request: HttpRequest, number: int) -> HttpResponse:
    request.session.cycle_key()
    request.session["user"] = {"id": number, "name": f"Person {number}"}
    request.session["deal"] = card(1)
    return HttpResponse(status=204)


def current(request: HttpRequest) -> HttpResponse:
    if "user" not in request.session:
        return HttpResponse(status=401)
    return JsonResponse({"deal": request.session.get("deal"), "source": "selected", "notice": None})


def select(request: HttpRequest, deal_id: int) -> HttpResponse:
    if "user" not in request.session:
        return HttpResponse(status=401)
    if not Deal.objects.filter(pk=deal_id).exists():
        return HttpResponse(status=404)
    request.session["deal"] = card(deal_id)
    return JsonResponse({"deal": request.session["deal"]})


urlpatterns = [
    path("login/<int:number>", login),
    path("current", current),
    path("select/<int:deal_id>", select),
]
app = WSGIHandler()

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(Deal)
    Deal.objects.bulk_create(Deal(pk=number, name=f"Deal {number}") for number in DEALS)
