"""What every app of the run would make anew, although it comes out the same: compiled addresses and templates.

A test that has an app of its own would spend most of its time on them. Web processes make theirs as in production.
"""

from collections.abc import Callable
from typing import Any

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Rule

_compile_builder = Rule._compile_builder
_builders: dict[tuple[Any, ...], Callable[..., tuple[str, str]]] = {}


def compile_addresses_once() -> None:
    """werkzeug writes two functions for each of our 220 rules: 60 ms of the 80 that an app takes to be made."""

    def compile_builder(rule: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        key = (rule.rule, append_unknown, tuple(rule._trace), repr(rule.defaults), tuple(map(type, rule._converters.values())))
        if key not in _builders:
            _builders[key] = _compile_builder(rule, append_unknown)
        return _builders[key]

    Rule._compile_builder = compile_builder  # type: ignore[method-assign,assignment]


class CompiledTemplates(BytecodeCache):
    """In memory, by the name and source of each template."""

    def __init__(self) -> None:
        self._code: dict[tuple[str, str], bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if code := self._code.get((bucket.key, bucket.checksum)):
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key, bucket.checksum] = bucket.bytecode_to_string()
