"""How a route tells the OpenAPI document what it takes and answers."""

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel
from quart_schema import document_querystring, document_request, document_response, tag

from app.deals.schemas import Problem

View = TypeVar("View", bound=Callable[..., Any])


class Empty(BaseModel):
    """No content."""


def documented(
    topic: str,
    answer: type[BaseModel] = Empty,
    status: int = 200,
    *,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    problems: tuple[int, ...] = (),
) -> Callable[[View], View]:
    """`problems` beside 401, which every route here has, and 503, which any outage is."""

    def document(view: View) -> View:
        view = document_response(answer, status)(tag([topic])(view))
        for problem in sorted({401, 503, *problems}):
            view = document_response(Problem, problem)(view)
        if body:
            view = document_request(body)(view)
        return document_querystring(query)(view) if query else view

    return document
