"""What real processes did the model can do, and what they did not do it cannot: the steps of a short story, as told and tampered with."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from tests.model.conformance import check
from tests.model.recorder import read_steps
from tests.model.told import Traces
from tests.resilience.matrix import on
from tests.resilience.site import People, Site

Line = list[Any]  # at, process, task, request, the request it came from, what, about …
RECORDED = True
AT, PROCESS, REQUEST, WHAT, ABOUT = 0, 1, 3, 5, 6
TAMPERED: list[Callable[[list[Line]], None]] = []


def tampered(tamper: Callable[[list[Line]], None]) -> Callable[[list[Line]], None]:
    TAMPERED.append(tamper)
    return tamper


def of(lines: list[Line], what: str, *about: Any, request: int | None = None) -> Iterator[Line]:
    """Those steps, by their name and what they begin with."""
    for line in lines:
        if line[WHAT] == what and line[ABOUT : ABOUT + len(about)] == list(about) and request in (None, line[REQUEST]):
            yield line


def writes(lines: list[Line], *, flips: bool = False) -> Iterator[Line]:
    """The first step of each write that was committed."""
    for line in of(lines, "write"):
        if next(of(lines, "commits", flips, request=line[REQUEST]), None) and next(of(lines, "committed", request=line[REQUEST]), None):
            yield line


def drop(lines: list[Line], *dropped: Line) -> None:
    lines[:] = [line for line in lines if not any(line is each for each in dropped)]


@tampered
def a_hold_is_never_taken(lines: list[Line]) -> None:
    request = next(writes(lines))[REQUEST]
    drop(lines, next(of(lines, "asks for holds", request=request)), next(of(lines, "held", request=request)))


@tampered
def a_commit_does_not_wait_for_its_hold(lines: list[Line]) -> None:
    request = next(writes(lines))[REQUEST]
    next(of(lines, "asks for holds", request=request))[AT] = next(of(lines, "committed", request=request))[AT] + 1
    next(of(lines, "held", request=request))[AT] = next(of(lines, "committed", request=request))[AT] + 2


@tampered
def a_version_is_served_that_nobody_wrote(lines: list[Line]) -> None:
    [*_, served] = of(lines, "served")
    served[ABOUT] += 1


@tampered
def an_old_version_is_served(lines: list[Line]) -> None:
    versions = [line[ABOUT] for line in of(lines, "served")]
    [*_, served] = [line for line in of(lines, "served") if line[ABOUT] != versions[0]]
    served[ABOUT] = versions[0]


@tampered
def an_old_version_is_found_in_sql(lines: list[Line]) -> None:
    *_, (_, old), (request, new) = [(line[REQUEST], line[ABOUT]) for line in of(lines, "asked SQL") if line[ABOUT]]
    older = next(line[ABOUT + 1] for line in writes(lines) if line[ABOUT + 1] < min(old, new))
    next(of(lines, "asked SQL", request=request))[ABOUT] = older


@tampered
def a_publish_did_not_find_its_hold(lines: list[Line]) -> None:
    for published in of(lines, "published"):
        published[ABOUT + 1] = False


@tampered
def a_write_goes_over_what_it_has_not_seen(lines: list[Line]) -> None:
    *_, write = writes(lines)
    written = next(of(lines, "written", request=write[REQUEST]))
    written[ABOUT] -= 1
    write[ABOUT + 1] -= 1


@tampered
def a_write_without_a_hold_leaves_the_flag(lines: list[Line]) -> None:
    request = next(writes(lines, flips=True))[REQUEST]
    next(of(lines, "commits", request=request))[ABOUT] = False
    drop(lines, *of(lines, "flips", request=request))


@tampered
def the_end_of_an_epoch_is_told_to_nobody(lines: list[Line]) -> None:
    request = next(writes(lines, flips=True))[REQUEST]
    over = next(of(lines, "flips", request=request))[ABOUT] + 1
    drop(lines, *of(lines, "tells Redis", over), *of(lines, "told Redis", over))


@tampered
def the_flag_is_not_read_before_the_answer(lines: list[Line]) -> None:
    write = next(writes(lines, flips=True))
    commits, answered = (next(of(lines, what, request=write[REQUEST])) for what in ("commits", "answered"))
    late = ("reads the flag", "read the flag", "tells Redis", "told Redis", "adopted")
    for line in lines:
        if line[WHAT] in late and line[PROCESS] == write[PROCESS] and commits[AT] < line[AT] < answered[AT]:
            line[AT] += answered[AT] - commits[AT]


@tampered
def an_epoch_begins_a_second_time(lines: list[Line]) -> None:
    [*_, begins], [*_, began] = of(lines, "begins an epoch"), of(lines, "began an epoch")
    [*_, read] = of(lines, "read the flag", "redis")
    again = begins[ABOUT + 1]
    for line in lines:
        if line[WHAT] in ("read the flag", "adopted", "claims") and line[ABOUT + 1] == read[ABOUT + 1]:
            line[ABOUT + 1] = again
    begins[ABOUT + 2] = began[ABOUT] = again


@tampered
def a_reader_refills_without_a_lease(lines: list[Line]) -> None:
    refilled = next(of(lines, "refilled", True))
    next(of(lines, "leased", request=refilled[REQUEST]))[ABOUT] = None


@tampered
def a_change_of_many_takes_no_second_hold(lines: list[Line]) -> None:
    request = next(line[REQUEST] for line in of(lines, "changed") if any(line[ABOUT].values()))
    drop(lines, list(of(lines, "asks for holds", request=request))[-1], list(of(lines, "held", request=request))[-1])


@tampered
def a_change_of_many_does_not_look_at_the_flag(lines: list[Line]) -> None:
    request = next(line[REQUEST] for line in of(lines, "changed") if any(line[ABOUT].values()))
    drop(lines, *of(lines, "fenced", request=request))


@tampered
def an_ended_login_is_served(lines: list[Line]) -> None:
    [*_, asked] = of(lines, "asked SQL", None)
    asked[ABOUT] = next(of(lines, "served"))[ABOUT]


@on("sqlite")
async def test_the_model_takes_what_was_done_and_nothing_else(site: Site, people: People) -> None:
    """Selections and reads on both servers, a revoke, a selection that Redis does not take, its return, a logout."""
    browser, owner = await people.browser(on=people.deals[0]), await people.browser(people.owner)
    copy = await people.bystander(browser)
    for deal in (people.deals[1], people.deals[0], people.deals[1]):
        assert await browser.select(deal, server=0) == 200
        assert await copy.current_everywhere() == {deal.id}
    assert (await owner.call("DELETE", f"/api/deals/{people.deals[1].id}/members/{people.viewer.id}")).status_code == 204
    assert await copy.current_everywhere() == {None}
    # For the first server alone: the probe of the worker would find out as well.
    site.proxies[0].refuse()
    assert await browser.select(people.deals[0], server=0) == 200
    site.proxies[0].accept()
    await site.wait_for_redis(within=60)
    assert await copy.current_everywhere() == {people.deals[0].id}
    assert await browser.select(people.deals[2], server=1) == 200
    assert await copy.current_everywhere() == {people.deals[2].id}
    assert (await browser.call("POST", "/api/auth/logout", server=0)).status_code == 204
    assert await copy.status_everywhere() == {401}

    lines = list(read_steps(site.steps))
    for line in lines:
        line[REQUEST] += line[PROCESS] * 10**6 * bool(line[REQUEST])  # each process counts its own
    assert [str(verdict) for verdict in check(Traces.of(lines, lossy=True)) if verdict.stuck_at] == []
    accepted = []
    for tamper in TAMPERED:
        changed = deepcopy(lines)
        tamper(changed)
        changed.sort(key=lambda line: line[AT])
        if not any(verdict.stuck_at for verdict in check(Traces.of(changed, lossy=True))):
            accepted.append(tamper.__name__)
    assert accepted == []
