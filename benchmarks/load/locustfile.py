"""What Locust runs: the people, and the verdict when they have gone home."""

import os
from pathlib import Path
from typing import Any

import click
import figures
from accounts import demo_accounts, read_accounts
from browsers import Browsers
from locust import events
from people import SEEN, Person
from thresholds import Figures, connections_refused, judge

_file = os.environ.get("LOAD_ACCOUNTS")
Person.browsers = Browsers(read_accounts(Path(_file)) if _file else demo_accounts())
_before: dict[str, Figures | None] = {}


@events.test_start.add_listener
def note_figures(environment: Any, **_: Any) -> None:
    _before["figures"] = figures.fetch(environment.host, os.environ.get("METRICS_TOKEN"))


@events.quitting.add_listener
def say_verdict(environment: Any, **_: Any) -> None:
    before, after = _before.get("figures"), figures.fetch(environment.host, os.environ.get("METRICS_TOKEN"))
    verdicts = judge(SEEN, before, after)
    for verdict in verdicts:
        click.echo(f"{'kept  ' if verdict.kept else 'BROKEN'}  {verdict.threshold}: {verdict.figure}")
    if refused := connections_refused(before, after):
        click.echo(f"The server refused {refused} connections by its own limits: start it with a higher MAX_CONNECTIONS_PER_ADDRESS.")
    environment.process_exit_code = 0 if all(verdict.kept for verdict in verdicts) else 1


__all__ = ["Person"]
