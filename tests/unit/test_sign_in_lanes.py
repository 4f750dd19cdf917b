"""The lanes in which sign-ins wait: few at once, bounded by address, drawn by lot."""

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest

from app.auth import sign_in_lanes
from app.auth.sign_in_lanes import AT_ONCE, MAX_SLOWED_PER_ADDRESS, MAX_WAITING, SignInLanes, TooBusy
from app.core.errors import NotAuthenticated, Unavailable
from tests.waiting import until


async def test_who_waits_for_a_turn_is_bounded_by_address_in_all_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = SignInLanes()

    async def never() -> float:
        return 60

    def come(name: str, address: str) -> asyncio.Future[None]:
        return asyncio.ensure_future(lanes.wait_for_turn(name, address, failures=0, take=never))

    waiting = [come(f"name {n}", "10.70.0.1") for n in range(MAX_SLOWED_PER_ADDRESS)]
    with pytest.raises(TooBusy):
        await come("one more", "10.70.0.1")
    crowd = [come("crowded", f"10.71.{n}.1") for n in range(3)]
    await until(lambda: lanes._slowed.total() == len(waiting) + len(crowd))
    monkeypatch.setattr(sign_in_lanes, "MAX_SLOWED", len(waiting) + len(crowd))
    waiting.append(come("somebody else", "10.72.0.1"))
    await until(lambda: any(each.done() for each in crowd))
    [out] = [each for each in crowd if each.done()]
    assert isinstance(out.exception(), TooBusy), "one of those at the name with most waiting"
    assert not any(each.done() for each in waiting)
    monkeypatch.setattr(sign_in_lanes, "SLOWED_SECONDS", 0.05)
    with pytest.raises(TooBusy):
        await asyncio.wait_for(come("last", "10.73.0.1"), 10)
    for each in (*waiting, *crowd):
        each.cancel()
    await asyncio.gather(*waiting, *crowd, return_exceptions=True)
    assert not lanes._slowed


async def test_turn_that_is_taken_and_not_used_is_the_next_ones() -> None:
    lanes, taken = SignInLanes(), 0

    async def take() -> float:
        nonlocal taken
        taken += 1
        return 0.2 if taken == 1 else 60

    def come(n: int) -> asyncio.Future[None]:
        return asyncio.ensure_future(lanes.wait_for_turn("ann", f"10.70.0.{n}", failures=0, take=take))

    for n in range(20):
        leaving = come(n)
        await until(lambda: taken == 1)
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    async with asyncio.timeout(10):
        await come(100)
    assert taken == 1
    assert not lanes._slowed
    assert not lanes._names


# SignInLanes


async def test_places_are_few_and_the_queue_ends() -> None:
    lanes, release, inside = SignInLanes(), asyncio.Event(), 0

    async def come(address: str) -> None:
        nonlocal inside
        async with lanes.place(address):
            inside += 1
            assert inside <= AT_ONCE
            await release.wait()
            inside -= 1

    greedy = [asyncio.ensure_future(come("10.0.0.1")) for _ in range(600)]
    await until(lambda: sum(each.done() for each in greedy) > 400)
    other = asyncio.ensure_future(come("10.0.0.2"))
    await asyncio.sleep(0)
    assert not other.done(), "one address cannot fill the queue"
    release.set()
    outcomes = await asyncio.gather(*greedy, other, return_exceptions=True)
    refused = [each for each in outcomes if each is not None]
    assert {type(each) for each in refused} == {TooBusy}
    assert outcomes[-1] is None
    assert 600 - MAX_WAITING <= len(refused) < 600
    async with lanes.place("10.0.0.1"):
        pass


async def test_address_whose_attempts_fail_waits_behind_one_that_has_not_failed() -> None:
    lanes, order = SignInLanes(), []
    for _ in range(3):
        with suppress(NotAuthenticated):
            async with lanes.place("10.0.0.1"):
                raise NotAuthenticated

    async def come(address: str) -> None:
        async with lanes.place(address):
            order.append(address)
            await asyncio.sleep(0)

    async with AsyncExitStack() as held:
        for _ in range(AT_ONCE):
            await held.enter_async_context(lanes.place("10.0.0.9"))
        waiting = [asyncio.ensure_future(come(each)) for each in ["10.0.0.1"] * 10 + ["10.0.0.2"] * 10]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order == ["10.0.0.2"] * 10 + ["10.0.0.1"] * 10


async def test_full_queue_puts_out_who_has_failed_before_who_has_not() -> None:
    lane = sign_in_lanes._Lane(1, 4, 2)
    await lane.enter("10.0.0.9")
    lane.note_failures("10.0.0.3")
    waiting = {each: asyncio.ensure_future(lane.enter(each)) for each in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")}
    await asyncio.sleep(0)
    waiting["10.0.0.5"] = asyncio.ensure_future(lane.enter("10.0.0.5"))
    await until(lambda: any(each.done() for each in waiting.values()))
    assert [address for address, each in waiting.items() if each.done()] == ["10.0.0.3"]
    for _ in waiting:
        lane.leave()
    outcomes = await asyncio.gather(*waiting.values(), return_exceptions=True)
    assert [type(each) for each in outcomes] == [type(None), type(None), TooBusy, type(None), type(None)]


async def test_an_outage_is_no_failure_of_the_address_that_met_it() -> None:
    lanes = SignInLanes()
    with suppress(Unavailable):
        async with lanes.place("10.0.0.1"):
            raise Unavailable("The database is away.")
    assert not lanes._strangers._failures


async def test_one_who_comes_late_gets_in_beside_six_hundred_from_many_addresses() -> None:
    lanes, served = SignInLanes(), 0

    async def attack(n: int) -> None:
        nonlocal served
        while True:
            with suppress(TooBusy, NotAuthenticated):
                async with lanes.place(f"10.60.{n // 250}.{n % 250}"):
                    await asyncio.sleep(0.005)
                    served += 1
                    raise NotAuthenticated
            await asyncio.sleep(0.2)

    crowd = [asyncio.ensure_future(attack(n)) for n in range(600)]
    await until(lambda: served > 100, within=30)
    place = lanes.place("10.61.0.1", with_cookie=True)
    with pytest.raises(StopIteration):  # a device cookie has a lane of its own, so nothing is waited for
        place.__aenter__().send(None)
    await place.__aexit__(None, None, None)

    async def patient() -> None:
        while True:
            with suppress(TooBusy):
                async with lanes.place("10.61.0.2"):
                    return
            await asyncio.sleep(0.2)

    await asyncio.wait_for(patient(), 30)
    for each in crowd:
        each.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    async with asyncio.timeout(30), lanes.place("10.61.0.3"):
        pass
