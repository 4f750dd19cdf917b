"""How the OpenAPI document is made from the routes: what each says of itself, and what operations are called."""

import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict
from quart_schema import Info, document_querystring, document_request, document_response, tag
from quart_schema.openapi import OpenAPIProvider
from quart_schema.validation import QUART_SCHEMA_RESPONSE_ATTRIBUTE
from werkzeug.routing.rules import Rule

INFO = Info(title="Holdfast", version=version("holdfast"), description="A deal workspace in which you never lose your place.")

# It does not describe itself.
DOCUMENT = "/api/openapi.json"
# The security scheme of what needs somebody signed in: the login cookie.
LOGIN = "login"
# Answers 401 to who is not known, and takes no login.
SIGNS_IN = ("/api/auth/login",)

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


# What refuses a request before its view is reached, or whatever the view does.
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_REF = "#/components/schemas/"


class PathNamed(OpenAPIProvider):
    """Operations are named after method and path, which differ where two functions are called alike; models by their feature, too,
    where two of them are. What can happen to any request of a kind is said of each of them."""

    def __init__(self, app: Any, extension: Any) -> None:
        super().__init__(app, extension)
        self._definitions: dict[str, Any] = {}

    def generate_rules(self) -> Iterator[Rule]:
        """What is under /api, and what says that it is `documented`; pages are for people."""
        for rule in self._app.url_map.iter_rules():
            is_api = rule.rule.startswith("/api/") and rule.rule != DOCUMENT
            if is_api or hasattr(self._app.view_functions[rule.endpoint], QUART_SCHEMA_RESPONSE_ATTRIBUTE):
                yield rule

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        paths, components = super().build_paths(rule)
        problem, more = self.build_response_object(Problem, None)
        for path, operations in paths.items():
            for method, operation in operations.items():
                declared = {int(status) for status in operation["responses"]}
                also = _standing_problems(method.upper(), path, operation) - declared if path.startswith("/api/") else set()
                responses = operation["responses"] | dict.fromkeys(also, problem)
                operation["responses"] = {status: responses[status] for status in sorted(responses, key=int)}
                if 401 in declared and path not in SIGNS_IN:
                    operation["security"] = [{LOGIN: []}]
                if uploads := getattr(self._app.view_functions[rule.endpoint], "uploads", None):
                    operation["requestBody"] = {"required": True, "content": uploads}
        return paths, components | more

    def build_querystring_parameters(self, model: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        parameters, definitions = super().build_querystring_parameters(model)
        required = {field.alias or name for name, field in model.model_fields.items() if field.is_required()}
        # An empty one counts as absent, as a form sends it.
        return [
            each | {"required": each["name"] in required, "allowEmptyValue": each["name"] not in required} for each in parameters
        ], definitions

    def build_request_body(self, model: Any, source: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        body, definitions = super().build_request_body(model, source)
        # An empty body counts as {}.
        required = any(field.is_required() for field in model.model_fields.values())
        return self._named(model, body | {"required": required}, definitions)

    def build_response_object(self, model: Any, headers_model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        response, definitions = super().build_response_object(model, headers_model)
        if model is Empty:
            del response["content"]
        elif (content_type := _CONTENT_TYPES.get(model)) is not None:
            schema = response["content"].pop("application/json")
            # A stream is nothing a schema of JSON could describe.
            response["content"][content_type] = schema if model is Problem else {"schema": {"description": EventStream.__doc__}}
        return self._named(model, response, definitions)

    def _named(self, model: Any, content: dict[str, Any], definitions: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Both with other names for the models that are called like a different one."""
        feature = model.__module__.split(".")[-2]
        renamed = {
            name: f"{feature}.{name}" for name, schema in definitions.items() if self._definitions.setdefault(name, schema) != schema
        }
        return _refer(content, renamed), {renamed.get(name, name): _refer(schema, renamed) for name, schema in definitions.items()}

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str:
        return "_".join([method.lower(), *re.findall(r"\w+", path)])


def _standing_problems(method: str, path: str, operation: dict[str, Any]) -> set[int]:
    """The refusals any request of this kind may meet: `check_access`, `refuse_wrong_ids`, `limit_writes`, `read_json`, `parse_query`."""
    statuses = {403, 429} if method in _UNSAFE else set()
    if "{" in path:
        statuses.add(404)
    if "requestBody" in operation:
        statuses |= {400, 413, 415}
    if any(each["in"] == "query" for each in operation["parameters"]):
        statuses |= {400, 414}
    return statuses


def _refer(node: Any, renamed: dict[str, str]) -> Any:
    """A copy whose references follow `renamed`."""
    if isinstance(node, dict):
        return {
            key: _REF + renamed.get(value.removeprefix(_REF), value.removeprefix(_REF))
            if key == "$ref" and isinstance(value, str)
            else _refer(value, renamed)
            for key, value in node.items()
        }
    return [_refer(each, renamed) for each in node] if isinstance(node, list) else node


def one_of(one: str, other: str) -> dict[str, Any]:
    """For the schema of a model of which exactly one of two fields is given; null is as good as none."""
    null = {"type": "null"}
    pairs = ((one, other), (other, one))
    given = ({"required": [name], "properties": {name: {"not": null}, without: null}} for name, without in pairs)
    return {"oneOf": list(given)}


def takes_files(*types: str) -> Callable[[View], View]:
    """For a view whose body is a file: of one of these types, or as the field `file` of a form."""
    binary = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {"file": binary}, "required": ["file"]}

    def document(view: View) -> View:
        view.uploads = {each: {"schema": binary} for each in types} | {"multipart/form-data": {"schema": form}}  # type: ignore[attr-defined]
        return view

    return document


def documented(
    topic: str,
    answer: type[BaseModel] = Empty,
    status: int = 200,
    *,
    or_status: int | None = None,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    problems: tuple[int, ...] = (),
    public: bool = False,
) -> Callable[[View], View]:
    """`problems` beside 401, which every route but a `public` one has, and 503, which any outage is."""

    def document(view: View) -> View:
        view = document_response(answer, status)(tag([topic])(view))
        if or_status:
            view = document_response(answer, or_status)(view)
        for problem in sorted({503, *problems} | (set() if public else {401})):
            view = document_response(Problem, problem)(view)
        if body:
            view = document_request(body)(view)
        return document_querystring(query)(view) if query else view

    return document
