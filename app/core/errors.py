"""Every error a request can end in, with its HTTP status; `error_handlers.py` alone renders them.

Three outcomes are never merged: *absent* is `None`, *refused* is one of the 4xx here, *outage* is `Unavailable`.
"""

from datetime import timedelta
from typing import Any


class AppError(Exception):
    """An answer other than success. `code` is for programs, `detail` for people."""

    status = 500
    code = "internal_error"
    title = "Something went wrong"

    def __init__(self, detail: str = "", *, code: str | None = None, retry_after: timedelta | None = None, **extra: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.code = code or self.code
        self.retry_after = retry_after
        self.extra = extra


class BadRequest(AppError):
    status, code, title = 400, "bad_request", "The request cannot be understood"


class NotAuthenticated(AppError):
    status, code, title = 401, "not_authenticated", "Please sign in"


class Forbidden(AppError):
    status, code, title = 403, "forbidden", "You may not do this"


class CrossSite(Forbidden):
    code, title = "cross_site", "This request came from another site"


class NotFound(AppError):
    status, code, title = 404, "not_found", "There is nothing here"


class Conflict(AppError):
    """Without a `code` of its own: somebody else was quicker."""

    status, code, title = 409, "conflict", "Somebody else changed this first"

    def __init__(self, detail: str = "", *, code: str | None = None, **extra: Any) -> None:
        super().__init__(detail, code=code, **extra)
        if code:
            self.title = "This cannot be done now"


class PayloadTooLarge(AppError):
    status, code, title = 413, "payload_too_large", "That is too much at once"


class AddressTooLong(AppError):
    status, code, title = 414, "uri_too_long", "This address is too long"


class UnsupportedMediaType(AppError):
    status, code, title = 415, "unsupported_media_type", "This content type is not accepted here"


class TooManyRequests(AppError):
    status, code, title = 429, "too_many_requests", "Too many requests"


class RateLimited(TooManyRequests):
    """By how often somebody asks; the other is by how often they failed to sign in."""


class Unavailable(AppError):
    """An outage: nobody could say. Nothing is half done, no cookie is dropped, the same request may be tried again."""

    status, code, title = 503, "unavailable", "Not available for a moment"

    def __init__(self, detail: str = "", *, retry_after: timedelta = timedelta(seconds=2), **extra: Any) -> None:
        super().__init__(detail, retry_after=retry_after, **extra)


class DatabaseUnavailable(Unavailable):
    """`reason` and `fix` are for operators, the doctor and the log (database_faults.py)."""

    code = "database_unavailable"

    def __init__(self, detail: str = "", *, reason: str = "", fix: str = "", **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.reason = reason or detail
        self.fix = fix


class ReadOnlyDatabase(DatabaseUnavailable):
    """It answers, and takes no writes."""

    code, title = "database_read_only", "Nothing can be changed for a moment"


class StorageFull(DatabaseUnavailable):
    code, title = "storage_full", "Storage full"


class StoreUnavailable(Unavailable):
    code = "session_store_unavailable"
