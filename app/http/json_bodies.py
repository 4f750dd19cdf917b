"""Bodies of requests: strict JSON, of the shape a model says."""

import json
import re
from typing import Any, NoReturn, TypeVar, cast

from pydantic import BaseModel, ValidationError
from quart import request

from app.core.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType

MAX_BODY_BYTES = 64 * 1024
MAX_DEPTH = 20
# One answer need not name more than can be read.
MAX_PROBLEMS = 20
_JSON_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")

Model = TypeVar("Model", bound=BaseModel)


async def read_json(model: type[Model], *, max_bytes: int = MAX_BODY_BYTES) -> Model:
    """The body as `model`, strictly: 413 too large, 415 not JSON, 400 for anything the model does not say. An empty body is `{}`."""
    if (request.content_length or 0) > max_bytes:
        raise PayloadTooLarge(f"A request body may have {max_bytes} bytes.")
    body = cast(bytes, await request.get_data(as_text=False))
    if len(body) > max_bytes:
        raise PayloadTooLarge(f"A request body may have {max_bytes} bytes.")
    if body and request.mimetype != "application/json":
        raise UnsupportedMediaType("Send application/json.")
    try:
        return model.model_validate(parse_json(body) if body else {})
    except ValidationError as error:
        problems = [
            {"field": ".".join(map(str, each["loc"])), "problem": each["msg"]}
            for each in error.errors(include_input=False, include_url=False, include_context=False)[:MAX_PROBLEMS]
        ]
        raise BadRequest("; ".join(f"{each['field']}: {each['problem']}" for each in problems), code="invalid", errors=problems) from error


def parse_json(body: bytes) -> Any:
    """JSON as the standard has it: no NaN, no duplicate keys, no lone surrogates, at most `MAX_DEPTH` levels. Raises `BadRequest`."""
    if _depth(body) > MAX_DEPTH:
        raise BadRequest(f"The body is nested deeper than {MAX_DEPTH} levels.", code="invalid_json")
    try:
        value = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_number)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair, by an escape, cannot be
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is not valid JSON.", code="invalid_json") from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


def _number(text: str) -> float | int:
    """To JSON 1.0 is as good a whole number as 1."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**63 else number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _depth(body: bytes) -> int:
    """How deep brackets stand in one another, those in texts left out; no deeper than matters.

    Before parsing: how deep a parser can go is its Python's to say.
    """
    depth = deepest = 0
    for bracket in _BRACKETS.finditer(_JSON_TEXT.sub(b"", body)):
        depth += 1 if bracket.group() in b"[{" else -1
        deepest = max(deepest, depth)
        if deepest > MAX_DEPTH:
            break
    return deepest
