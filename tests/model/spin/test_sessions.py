"""SPIN visits every state of the model within the short bounds, and without a mechanism it finds how a promise breaks."""

import pytest

from tests.model.spin.runs import BREAKS, SHORT
from tests.model.spin.verify import Bounds, verify
from tests.servers.programs import find_program


@pytest.fixture(autouse=True)
def _programs() -> None:
    find_program("spin")
    find_program("gcc")


@pytest.mark.slow
@pytest.mark.parametrize("bounds", SHORT, ids=str)
def test_every_promise_is_kept(bounds: Bounds) -> None:
    verdict = verify(bounds)
    assert not verdict.broken, "\n".join(verdict.story)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, mechanism in BREAKS.items() if not mechanism.is_long])
def test_no_mechanism_can_be_spared(name: str) -> None:
    verdict = verify(BREAKS[name].bounds, without=name, optimise=False)
    assert verdict.broken, f"nothing breaks without it: {BREAKS[name].rule}"
    assert verdict.broken.startswith(BREAKS[name].promise), "\n".join(verdict.story)
