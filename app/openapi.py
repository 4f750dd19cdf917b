"""How the OpenAPI document is made from the routes."""

import re
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from quart_schema import Info
from quart_schema.openapi import OpenAPIProvider

INFO = Info(title="Holdfast", version=version("holdfast"), description="A deal workspace in which you never lose your place.")


class PathNamed(OpenAPIProvider):
    """Operations are named after method and path, which differ where two functions are called alike."""

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str:
        return "_".join([method.lower(), *re.findall(r"\w+", path)])
