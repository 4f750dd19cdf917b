"""How the OpenAPI document is made from the routes: what each says of itself, and what operations are called."""

import re
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict
from quart_schema import Info, document_querystring, document_request, document_response, tag
from quart_schema.openapi import OpenAPIProvider

INFO = Info(title="Holdfast", version=version("holdfast"), description="A deal workspace in which you never lose your place.")

View = TypeVar("View", bound=Callable[..., Any])


class Problem(BaseModel):
    """An error as RFC 9457 has it (application/problem+json)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class Empty(BaseModel):
    """No content."""


class EventStream(BaseModel):
    """Server-sent events, until the stream ends."""


# What is answered as something else than plain JSON.
_CONTENT_TYPES: dict[Any, str] = {Problem: "application/problem+json", EventStream: "text/event-stream"}


class PathNamed(OpenAPIProvider):
    """Operations are named after method and path, which differ where two functions are called alike."""

    def build_response_object(self, model: Any, headers_model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        response, definitions = super().build_response_object(model, headers_model)
        if (content_type := _CONTENT_TYPES.get(model)) is not None:
            schema = response["content"].pop("application/json")
            response["content"][content_type] = schema if model is Problem else {"schema": {"type": "string"}}
        return response, definitions

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str:
        return "_".join([method.lower(), *re.findall(r"\w+", path)])


def documented(
    topic: str,
    answer: type[BaseModel] = Empty,
    status: int = 200,
    *,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    problems: tuple[int, ...] = (),
    public: bool = False,
) -> Callable[[View], View]:
    """`problems` beside 401, which every route but a `public` one has, and 503, which any outage is."""

    def document(view: View) -> View:
        view = document_response(answer, status)(tag([topic])(view))
        for problem in sorted({503, *problems} | (set() if public else {401})):
            view = document_response(Problem, problem)(view)
        if body:
            view = document_request(body)(view)
        return document_querystring(query)(view) if query else view

    return document
