"""As much of PromQL and of a rule file's YAML as docs/operations/alerts.yml uses. What it does not know it refuses."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Labels = tuple[tuple[str, str], ...]
# By name and labels: (unix seconds, value), the oldest first.
Series = Mapping[tuple[str, Labels], list[tuple[float, float]]]
Vector = dict[Labels, float]

_TOKEN = re.compile(r"\s*(=~|!=|==|>=|<=|[a-zA-Z_:][\w:]*|\d+(?:\.\d+)?|\"[^\"]*\"|[(){}\[\],=<>/*+-])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass
class Evaluator:
    """`value(expr)` at the moment `now`: a vector, empty where nothing matches, which is when an alert is silent."""

    series: Series
    now: float
    names: set[str] = field(default_factory=set)

    def value(self, expression: str) -> Vector:
        tokens = list(_tokens(expression))
        found, rest = self._and(tokens)
        if rest:
            raise SyntaxError(f"{expression}: what is {' '.join(rest)}?")
        return found if isinstance(found, dict) else {(): found}

    def _and(self, tokens: list[str]) -> tuple[Any, list[str]]:
        left, tokens = self._comparison(tokens)
        while tokens and tokens[0] == "and":
            right, tokens = self._comparison(tokens[1:])
            left = {labels: value for labels, value in left.items() if labels in right}
        return left, tokens

    def _comparison(self, tokens: list[str]) -> tuple[Any, list[str]]:
        left, tokens = self._arithmetic(tokens)
        compare = {"==": lambda a, b: a == b, ">": lambda a, b: a > b, "<": lambda a, b: a < b, ">=": lambda a, b: a >= b}
        if tokens and tokens[0] in compare:
            holds: Callable[[float, float], bool] = compare[tokens[0]]
            right, tokens = self._arithmetic(tokens[1:])
            if isinstance(right, dict):
                raise SyntaxError("compare with a number")
            left = {labels: value for labels, value in left.items() if holds(value, right)}
        return left, tokens

    def _arithmetic(self, tokens: list[str]) -> tuple[Any, list[str]]:
        left, tokens = self._term(tokens)
        while tokens and tokens[0] in ("/", "-", "*"):
            sign = tokens[0]
            right, tokens = self._term(tokens[1:])
            left = _apply(sign, left, right)
        return left, tokens

    def _term(self, tokens: list[str]) -> tuple[Any, list[str]]:
        head, *rest = tokens
        if re.fullmatch(r"\d+(\.\d+)?", head):
            return float(head), rest
        if head == "(":
            found, rest = self._and(rest)
            return found, _drop(rest, ")")
        if head == "time":
            return self.now, _drop(_drop(rest, "("), ")")
        if head in ("sum", "max", "min"):
            return self._aggregate(head, rest)
        if head == "histogram_quantile":
            share, rest = self._arithmetic(_drop(rest, "("))
            buckets, rest = self._and(_drop(rest, ","))
            return _quantile(share, buckets), _drop(rest, ")")
        if head == "absent":
            found, rest = self._and(_drop(rest, "("))
            return ({} if found else {(): 1.0}), _drop(rest, ")")
        if head in ("rate", "increase", "delta"):
            ranges, seconds, rest = self._range(_drop(rest, "("))
            gone = {labels: points[-1][1] - points[0][1] for labels, points in ranges.items() if len(points) > 1}
            return {labels: value / (seconds if head == "rate" else 1) for labels, value in gone.items()}, _drop(rest, ")")
        matched, rest = self._select(tokens)
        return {labels: points[-1][1] for labels, points in matched.items() if self.now - points[-1][0] <= 300}, rest

    def _aggregate(self, head: str, tokens: list[str]) -> tuple[Vector, list[str]]:
        by: list[str] = []
        if tokens[0] == "by":
            inside = tokens[2 : tokens.index(")")]
            by, tokens = [name for name in inside if name != ","], tokens[tokens.index(")") + 1 :]
        found, rest = self._and(_drop(tokens, "("))
        groups: dict[Labels, list[float]] = {}
        for labels, value in found.items():
            groups.setdefault(tuple(pair for pair in labels if pair[0] in by), []).append(value)
        add_up: dict[str, Callable[[list[float]], float]] = {"sum": sum, "max": max, "min": min}
        return {labels: add_up[head](values) for labels, values in groups.items()}, _drop(rest, ")")

    def _select(self, tokens: list[str]) -> tuple[dict[Labels, list[tuple[float, float]]], list[str]]:
        name, *rest = tokens
        self.names.add(name)
        wanted: list[tuple[str, str, str]] = []
        if rest and rest[0] == "{":
            rest = rest[1:]
            while rest[0] != "}":
                label, sign, text, *rest = rest
                wanted.append((label, sign, text.strip('"')))
                rest = rest[1:] if rest[0] == "," else rest
            rest = rest[1:]
        found = {}
        for (each, labels), points in self.series.items():
            if each == name and all(_matches(dict(labels).get(label, ""), sign, text) for label, sign, text in wanted):
                found[labels] = points
        return found, rest

    def _range(self, tokens: list[str]) -> tuple[dict[Labels, list[tuple[float, float]]], float, list[str]]:
        found, rest = self._select(tokens)
        number, unit, *rest = _drop(rest, "[")
        seconds = float(number) * _UNITS[unit]
        within = {labels: [point for point in points if point[0] >= self.now - seconds] for labels, points in found.items()}
        return within, seconds, _drop(rest, "]")


def parse_rules(text: str) -> Iterator[dict[str, Any]]:
    """The rules of a rule file: `groups: - name, rules: - alert, expr, for, labels, annotations`. Anything else is refused."""
    rule: dict[str, Any] = {}
    inner: dict[str, str] = {}
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if lines[0] != "groups:":
        raise SyntaxError(lines[0])
    for line in lines[1:]:
        match = re.fullmatch(r"( *)(- )?(\w+):(?: (.*))?", line)
        if match is None:
            raise SyntaxError(line)
        depth, key, value = len(match[1]) + len(match[2] or ""), match[3], match[4]
        if value is not None and re.search(r": |^[&*!|>%@`\[{]| #", value):
            raise SyntaxError(f"this needs quotes in YAML: {line}")
        if depth == 4 and key in ("name", "rules"):
            continue
        if depth == 8 and match[2]:
            if rule:
                yield rule
            rule = {}
        if depth == 8 and value is None:
            inner = rule.setdefault(key, {})
        elif depth == 8:
            rule[key] = value
        elif depth == 10:
            inner[key] = value or ""
        else:
            raise SyntaxError(line)
    yield rule


def _tokens(text: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise SyntaxError(text[position:])
        yield match[1]
        position = match.end()


def _drop(tokens: list[str], expected: str) -> list[str]:
    if not tokens or tokens[0] != expected:
        raise SyntaxError(f"{expected} expected before {' '.join(tokens)}")
    return tokens[1:]


def _matches(value: str, sign: str, text: str) -> bool:
    if sign == "=":
        return value == text
    if sign == "=~":
        return re.fullmatch(text, value) is not None
    raise SyntaxError(sign)


def _apply(sign: str, left: Any, right: Any) -> Any:
    compute: Callable[[float, float], float] = {"/": _divide, "-": lambda a, b: a - b, "*": lambda a, b: a * b}[sign]
    if not isinstance(right, dict):
        return {labels: compute(value, right) for labels, value in left.items()} if isinstance(left, dict) else compute(left, right)
    if not isinstance(left, dict):
        return {labels: compute(left, value) for labels, value in right.items()}
    return {labels: compute(value, right[labels]) for labels, value in left.items() if labels in right}


def _divide(left: float, right: float) -> float:
    # As Prometheus has it: 0 / 0 is no number, and no comparison with it holds.
    return left / right if right else float("nan") if not left else float("inf")


def _quantile(share: float, buckets: Vector) -> Vector:
    counts = sorted((float(dict(labels)["le"].replace("+Inf", "inf")), value) for labels, value in buckets.items())
    if not counts or not counts[-1][1]:
        return {}
    wanted, below, lower = share * counts[-1][1], 0.0, 0.0
    for upper, count in counts:
        if count >= wanted:
            return {(): lower if upper == float("inf") else lower + (upper - lower) * (wanted - below) / (count - below)}
        below, lower = count, upper
    return {}
