"""Verify the protocol of docs/sessions.md by SPIN: every state within the bounds.

python -m tests.model.spin            the short runs, as `make test` does
python -m tests.model.spin --long     all of them (`make proof`)
python -m tests.model.spin --break lease | all
"""

import argparse
import sys

from tests.model.spin.runs import BREAKS, LONG, SHORT
from tests.model.spin.verify import Failed, Verdict, verify


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="larger bounds as well: minutes to an hour")
    parser.add_argument(
        "--break", dest="without", metavar="NAME", help=f"take one mechanism away: all, {', '.join(map(str.lower, BREAKS))}"
    )
    parser.add_argument("--memory", type=int, default=12_000, help="the most megabytes for one run")
    arguments = parser.parse_args()
    try:
        if arguments.without:
            return _break(arguments.without.upper(), arguments.memory)
        return _verify_all(arguments.long, arguments.memory)
    except Failed as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _figures(verdict: Verdict) -> str:
    return f"{verdict.states:>12,} states {verdict.megabytes:>7,.0f} MB {verdict.seconds:>7.1f} s"


def _verify_all(is_long: bool, memory: int) -> int:
    broken = 0
    for bounds in SHORT + (LONG if is_long else ()):
        verdict = verify(bounds, memory=memory)
        _say(f"{_figures(verdict)}  {verdict.broken or 'kept'}  {bounds}")
        for line in verdict.story:
            _say(f"    {line}")
        broken += verdict.broken is not None
    return int(broken > 0)


def _break(name: str, memory: int) -> int:
    if name != "ALL" and name not in BREAKS:
        _say(f"There is no {name.lower()}; there are {', '.join(map(str.lower, BREAKS))}.")
        return 2
    missed = 0
    for each in BREAKS if name == "ALL" else [name]:
        mechanism = BREAKS[each]
        verdict = verify(mechanism.bounds, without=each, memory=memory)
        as_named = (verdict.broken or "").startswith(mechanism.promise)
        missed += not as_named
        _say(f"{_figures(verdict)}  {each.lower()} ({mechanism.rule}): {verdict.broken or 'NOTHING BREAKS'}")
        if name != "ALL" or not as_named:
            for line in verdict.story:
                _say(f"    {line}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
