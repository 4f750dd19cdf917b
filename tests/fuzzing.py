"""Asks a running site everything its OpenAPI document says can be asked, and much that it says cannot; `make fuzz` does so at length."""

import argparse
import os
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis import HookContext, Response, auths, config, engine, hooks
from schemathesis.config import CoveragePhaseConfig, GenerationConfig, PhasesConfig
from schemathesis.config._checks import NegativeDataRejectionConfig
from schemathesis.engine import Status, events
from schemathesis.openapi.checks import RejectedPositiveData

# Two events of a stream that ends when its client goes are as good as a thousand.
MAX_STREAM_EVENTS = 1
# What ends the login that asks; it signs in anew for the next question.
ENDS_LOGINS = ("/api/auth/logout", "/api/me/password", "logins", "/api/admin/people", "/api/auth/login")


# Rules no schema can say, and all that a refusal may give as its reason where what was sent is as documented:
# classes of Unicode (letters, accents) that patterns of JSON Schema need not know, and what time it is,
_WORDS = (
    *("there must be something to see in it", "must have letters to call somebody by", "accents on one letter"),
    "must lie in the future",
)
# what depends on what is stored or on a secret (people there are, a cursor that is sealed, a password of one's own), and what only
# reading a file shows.
_CODES = ("invalid_cursor", "wrong_password", "unreadable_file", "unknown_person")


@dataclass
class Asked:
    """What came of it. `statuses` counts the answers to each operation by status."""

    failures: list[str] = field(default_factory=list)
    operations: set[str] = field(default_factory=set)
    statuses: dict[str, dict[int, int]] = field(default_factory=dict)

    @property
    def cases(self) -> int:
        return sum(count for counts in self.statuses.values() for count in counts.values())


def ask_everything(
    url: str,
    *,
    sign_in: Callable[[], str | None],
    ids: Mapping[str, list[str]],
    max_examples: int,
    seed: int,
    max_seconds: int | None = None,
    boundaries: bool = True,
) -> Asked:
    """`sign_in` gives the Cookie header of a fresh login, or None for nobody; `ids` are values of path parameters that lead somewhere.

    `boundaries`: also what lies on and just beyond each bound of each field, which is most of what is asked.
    """
    asked, chance = Asked(), random.Random(seed)
    schema: Any = schemathesis.openapi.from_url(f"{url}/api/openapi.json", config=_config(url, max_examples, seed, max_seconds, boundaries))
    cookie = sign_in()

    class Login:
        """As the document has it, so that whether a login is asked for is checked, too."""

        def get(self, case: Any, context: Any) -> str | None:
            return cookie

        def set(self, case: Any, data: str, context: Any) -> None:
            case.cookies = dict(each.split("=", 1) for each in data.split("; "))

    if cookie:
        schemathesis.auth(refresh_interval=None)(Login)

    @schemathesis.hook
    def before_call(context: HookContext, case: Any, kwargs: dict[str, Any]) -> None:
        # A chain of calls brings ids of its own.
        is_as_documented = case.meta and not case.meta.generation.mode.is_negative and case.meta.phase.name.value != "stateful"
        for name in case.path_parameters or {}:
            if is_as_documented and ids.get(name) and chance.random() < 0.7:
                case.path_parameters[name] = chance.choice(ids[name])

    @schemathesis.hook
    def after_call(context: HookContext, case: Any, response: Response) -> None:
        nonlocal cookie
        counts = asked.statuses.setdefault(case.operation.label, {})
        counts[response.status_code] = counts.get(response.status_code, 0) + 1
        if cookie and response.status_code < 300 and any(part in case.operation.path for part in ENDS_LOGINS):
            cookie = sign_in()

    @schemathesis.hook
    def filter_failure(context: HookContext, failure: Any, case: Any, response: Response) -> bool:
        return not (isinstance(failure, RejectedPositiveData) and _is_beyond_schemas(response))

    try:
        for event in engine.from_schema(schema).execute():
            if isinstance(event, events.ScenarioFinished):
                asked.operations.add(event.label or "")
                asked.failures += _failures_of(event)
            elif isinstance(event, events.NonFatalError | events.FatalError):
                asked.failures.append(str(event.info.format() if isinstance(event, events.NonFatalError) else event.exception))
    finally:
        auths.unregister()
        hooks.unregister(before_call)
        hooks.unregister(after_call)
        hooks.unregister(filter_failure)
    return asked


def _is_beyond_schemas(response: Response) -> bool:
    """Whether a refusal is by a rule JSON Schema cannot say. What a schema can say and does not is a failure."""
    if response.status_code != 400:
        return False
    problem = response.json()
    if problem["code"] != "invalid":
        return problem["code"] in _CODES
    return all(any(words in each["problem"] for words in _WORDS) for each in problem.get("errors", [{"problem": problem["detail"]}]))


def _failures_of(event: events.ScenarioFinished) -> list[str]:
    found = []
    for case_id, checks in event.recorder.checks.items():
        for check in checks:
            if check.status is Status.FAILURE and check.failure_info is not None:
                interaction = event.recorder.interactions[case_id]
                request, answer = interaction.request, interaction.response
                said = f"{answer.status_code} {answer.content[:300]!r}" if answer else "no answer"
                sent = f"{request.method} {request.uri} {request.body!r}"[:400]
                failure = check.failure_info.failure
                found.append(f"{check.name}: {event.label}: {failure.title} {failure.message[:300]}\n  {sent}\n  {said}")
    return found


def _config(url: str, max_examples: int, seed: int, max_seconds: int | None, boundaries: bool) -> config.SchemathesisConfig:
    generation = GenerationConfig(max_examples=max_examples, deterministic=False, no_shrink=True)
    # 413 and 414 are refusals of what is not as documented, like 400.
    refused = NegativeDataRejectionConfig(expected_statuses=["400", "401", "403", "404", "405", "409", "413", "414", "415", "429"])
    project = config.ProjectConfig(
        checks=config.ChecksConfig(negative_data_rejection=refused),
        base_url=url,
        generation=generation,
        phases=PhasesConfig(coverage=CoveragePhaseConfig(enabled=boundaries)),
        max_stream_events=MAX_STREAM_EVENTS,
        request_timeout=10,
        continue_on_failure=False,
    )
    return config.SchemathesisConfig(seed=seed, max_time=max_seconds, projects=config.ProjectsConfig(default=project))


def main() -> None:
    """`make fuzz`: a running site at URL, as the person whose Cookie header is in HOLDFAST_COOKIE, or as nobody."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("url")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    given = parser.parse_args()
    cookie = os.environ.get("HOLDFAST_COOKIE")
    asked = ask_everything(
        given.url, sign_in=lambda: cookie, ids={}, max_examples=given.examples, seed=given.seed, max_seconds=given.seconds
    )
    sys.stdout.write("\n\n".join(asked.failures) + "\n")
    sys.stdout.write(f"{asked.cases} requests to {len(asked.statuses)} operations, {len(asked.failures)} failures (--seed {given.seed})\n")
    sys.exit(bool(asked.failures))


if __name__ == "__main__":
    main()
