"""The field types of requests about a deal; one rule per type, whatever the model."""

import re
import unicodedata
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from app.core.invisible_characters import strip_invisible
from app.core.unicode_forms import normal_form
from app.http.ids import MAX_ID

_BREAKS_A_LINE = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Eighteen digits: more than anything has been counted to.
MAX_ASKED_ID = 10**18 - 1
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_ADDRESS = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)


def single_line(value: Any) -> Any:
    """Text without control characters, line breaks and what cannot be seen, composed (NFC) so that a search for it finds it."""
    if not isinstance(value, str):
        return value
    value = strip_invisible(value)
    if any(unicodedata.category(character) in _BREAKS_A_LINE for character in value):
        raise ValueError("control characters and line breaks are not allowed")
    return normal_form("NFC", value)


def several_lines(value: Any) -> Any:
    """Text of any number of lines, composed, its line ends one LF each: a browser's form sends two characters."""
    if not isinstance(value, str):
        return value
    lines = value.replace("\r\n", "\n").replace("\r", "\n")
    if any(unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t" for character in lines):
        raise ValueError("control characters are not allowed")
    return normal_form("NFC", lines)


def _visible(value: str) -> str:
    if not any(unicodedata.category(character)[0] in "LNPS" for character in value):
        raise ValueError("there must be something to see in it")
    return value


def _web_address(value: str) -> str:
    # Anything else could run as a script where it is shown as a link.
    if value and not all(_ADDRESS.fullmatch(part.strip()) for part in value.split(", ")):
        raise ValueError("must be an http:// or https:// address")
    return value


def _whole(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    return value


def _day(value: Any) -> Any:
    if isinstance(value, date):
        return value
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise ValueError("must be a day like 2026-11-30")
    return date.fromisoformat(value)


def _moment(value: Any) -> Any:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        raise ValueError("must be a time with its zone, like 2026-11-30T18:00:00Z") from None


def _asked(value: Any, what: str = "an id") -> Any:
    """An id as a query string has it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"[1-9]\d{0,17}", value, re.ASCII):
        raise ValueError(f"must be {what}")
    return int(value)


def _whose(value: Any) -> Any:
    return value if value in ("me", "none") else _asked(value, "a person's id, me or none")


def _line(longest: int, shortest: int = 0) -> Any:
    return StringConstraints(strip_whitespace=True, min_length=shortest, max_length=longest)


# What the functions above check, as the OpenAPI document can say it.
_BREAKS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
ONE_LINE = Field(json_schema_extra={"pattern": f"^[^{_BREAKS}]*$"})
_SOME_LINE = Field(json_schema_extra={"pattern": rf"^[^{_BREAKS}]*[^\s{_BREAKS}][^{_BREAKS}]*$"})
_LINES = Field(json_schema_extra={"pattern": r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$"})
_WEB = r"[hH][tT][tT][pP][sS]?://[^\s\"'<>\x00-\x1f\x7f-\x9f]+"
_WEB_ADDRESSES = Field(json_schema_extra={"pattern": rf"^ *({_WEB}(, +{_WEB})*)? *$"})

Name = Annotated[str, _SOME_LINE, BeforeValidator(single_line), _line(200, 1), AfterValidator(_visible)]
Line = Annotated[str, ONE_LINE, BeforeValidator(single_line), _line(120)]
LongLine = Annotated[str, ONE_LINE, BeforeValidator(single_line), _line(2000)]
Prose = Annotated[str, _LINES, BeforeValidator(several_lines), StringConstraints(max_length=20_000)]
# What somebody looks for.
Words = Annotated[str, ONE_LINE, BeforeValidator(single_line), StringConstraints(strip_whitespace=True, max_length=200)]
Party = Annotated[str, ONE_LINE, BeforeValidator(single_line), _line(200)]
Section = Annotated[str, _SOME_LINE, BeforeValidator(single_line), _line(120, 1), AfterValidator(_visible)]
Task = Annotated[str, _SOME_LINE, BeforeValidator(single_line), _line(300, 1), AfterValidator(_visible)]
Status = Annotated[str, ONE_LINE, BeforeValidator(single_line), _line(40)]
Terms = Annotated[str, ONE_LINE, BeforeValidator(single_line), _line(80)]
Reference = Annotated[str, _SOME_LINE, BeforeValidator(single_line), _line(200, 1)]
Address = Annotated[str, _WEB_ADDRESSES, BeforeValidator(single_line), _line(2000), AfterValidator(_web_address)]
Email = Annotated[str, ONE_LINE, BeforeValidator(single_line), _line(320, 3)]
# The bounds stand first, where the OpenAPI document finds them; what runs before is written after.
Dollars = Annotated[int, Field(ge=0, le=MAX_ID), BeforeValidator(_whole)]
Year = Annotated[int, Field(ge=1, le=9999), BeforeValidator(_whole)]
Identifier = Annotated[int, Field(ge=1, le=MAX_ID), BeforeValidator(_whole)]
AskedId = Annotated[int, Field(ge=1, le=MAX_ASKED_ID), BeforeValidator(_asked)]
Whose = Annotated[Annotated[int, Field(ge=1, le=MAX_ASKED_ID)] | Literal["me", "none"], BeforeValidator(_whose)]
Day = Annotated[date, BeforeValidator(_day)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Stage = Literal["sourcing", "diligence", "negotiation", "signing", "closed"]
GrantRole = Literal["editor", "viewer"]
