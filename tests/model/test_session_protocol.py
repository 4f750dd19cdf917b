"""Every order the protocol's steps can take: as built it keeps every promise, and no mechanism can be spared."""

import subprocess
import sys

import pytest

from tests.model.session_protocol import MECHANISMS, SCENARIOS, explore, find_broken
from tests.servers.web import ROOT

RUNS = [(name, fault) for name, scenario in SCENARIOS.items() for fault in scenario.faults]


@pytest.mark.parametrize(("name", "fault"), RUNS)
def test_every_promise_is_kept_in_every_order(name: str, fault: str) -> None:
    count, story = explore(SCENARIOS[name], fault)
    assert not story, "\n".join(story)
    assert count > 500, "a model that explores next to nothing proves nothing"


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_without_one_mechanism_a_promise_breaks(mechanism: str) -> None:
    story = find_broken(mechanism)
    assert story
    assert story[-1].startswith("BROKEN")


def test_model_can_be_asked_from_the_command_line() -> None:
    command = [sys.executable, "-m", "tests.model.session_protocol", "--break", "hold"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.startswith("Without hold: a writer takes no hold.")
    assert "BROKEN" in said
