"""Query strings as models: limits and cursors of lists, and errors that name the parameter."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, ValidationError

from app.core.errors import BadRequest

MAX_ON_A_PAGE = 100

Query = TypeVar("Query", bound=BaseModel)


def _digits(value: Any) -> Any:
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit()) or len(value) > 4:
            raise ValueError("must be a whole number")
        return int(value)
    return value


Limit = Annotated[int, Field(ge=1, le=MAX_ON_A_PAGE), BeforeValidator(_digits)]
Cursor = Annotated[str, StringConstraints(max_length=4000)]


def parse_query(model: type[Query], args: Mapping[str, str]) -> Query:
    """The query string as `model`; an empty parameter counts as absent, as a form sends it. Raises `BadRequest`."""
    try:
        return model.model_validate({name: value for name, value in args.items() if value != ""})
    except ValidationError as error:
        problems = [{"field": ".".join(map(str, each["loc"])), "problem": each["msg"]} for each in error.errors(include_url=False)]
        raise BadRequest("; ".join(f"{each['field']}: {each['problem']}" for each in problems), code="invalid", errors=problems) from error
