"""The proof that each mechanism is guarded keeps in step with the code, the tests and the docs."""

import re

import pytest

from tests.resilience.mutant_list import MUTANTS, Mutant
from tests.servers.web import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mechanism)
def test_mutants_change_one_place_and_name_a_test_there_is(mutant: Mutant) -> None:
    assert (ROOT / mutant.path).read_text().count(mutant.was) == 1
    path, _, test = mutant.test.partition("::")
    assert f"def {test}" in (ROOT / path).read_text()


def test_the_docs_list_them() -> None:
    rows = re.findall(r"^\| (.+) \| `(\S+)` \|$", (ROOT / "docs/resilience.md").read_text(), re.MULTILINE)
    assert rows == [(mutant.mechanism, mutant.test.split("::")[-1]) for mutant in MUTANTS]
