"""Who is served and who waits when more want the database than it has connections."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from app.auth.sign_in_lanes import _NameQueue
from app.core.database_admission import Admission, Rank
from app.core.errors import DatabaseUnavailable
from tests.waiting import until


class Crowd:
    def __init__(self, slots: int) -> None:
        self.admission = Admission(slots)
        self.served: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def join(self, name: str, rank: Rank = Rank.REQUEST, *, within: float = 30) -> asyncio.Task[None]:
        """One more, who is in the queue when this returns."""

        async def work() -> None:
            async with self.admission.turn(rank, within=within):
                self.served.append(name)

        before = self.admission.waiting
        task = asyncio.create_task(work())
        self.tasks.append(task)
        await until(lambda: task.done() or self.admission.waiting > before)
        return task

    async def all(self) -> list[str]:
        await asyncio.gather(*self.tasks, return_exceptions=True)
        return self.served


async def test_first_come_first_served_but_what_has_begun_ends_and_the_background_steps_back() -> None:
    crowd = Crowd(1)
    async with crowd.admission.turn(Rank.REQUEST, within=1):
        await crowd.join("background", Rank.BACKGROUND)
        for name in ("first", "second"):
            await crowd.join(name)
        await crowd.join("begun", Rank.BEGUN)
    assert await crowd.all() == ["begun", "first", "second", "background"]


async def test_who_is_next_is_not_refused_because_turns_were_long_a_while_ago() -> None:
    crowd = Crowd(1)
    crowd.admission._turn_seconds = 60
    async with crowd.admission.turn(Rank.REQUEST, within=1):
        await crowd.join("next", within=30)
        refused = await crowd.join("third", within=30)
    assert await crowd.all() == ["next"]
    assert isinstance(refused.exception(), DatabaseUnavailable)


async def test_a_slow_minute_refuses_nobody_long_afterwards() -> None:
    crowd = Crowd(1)
    crowd.admission._turn_seconds, crowd.admission._measured_at = 60, time.monotonic() - 60
    async with crowd.admission.turn(Rank.REQUEST, within=1):
        for name in ("next", "third"):
            await crowd.join(name, within=30)
    assert await crowd.all() == ["next", "third"]


async def test_a_turn_at_a_name_goes_to_who_has_failed_least_when_it_comes() -> None:
    name, order, taken = _NameQueue(), list[str](), asyncio.Event()

    async def take() -> float:
        taken.set()
        return 0.1

    async def attempt(who: str, failures: int) -> None:
        await name.wait_for_turn(who, failures, take)
        order.append(who)

    guesser = asyncio.create_task(attempt("guesser", 9))
    await taken.wait()  # it waits for the turn, which it has taken
    await asyncio.gather(attempt("newcomer", 0), guesser)
    assert order == ["newcomer", "guesser"]


async def test_nobody_starves_in_the_background() -> None:
    """Its place improves as it waits."""
    crowd = Crowd(1)
    async with crowd.admission.turn(Rank.REQUEST, within=1):
        await crowd.join("background", Rank.BACKGROUND)
        began = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() - began > Rank.BACKGROUND.value)
        await crowd.join("request")
    assert await crowd.all() == ["background", "request"]


async def test_who_gives_up_or_is_cancelled_takes_nobodys_turn() -> None:
    crowd = Crowd(2)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(crowd.admission.turn(Rank.REQUEST, within=1))
        impatient = await crowd.join("impatient", within=0.01)
        cancelled = await crowd.join("cancelled")
        await crowd.join("patient")
        cancelled.cancel()
        with pytest.raises(DatabaseUnavailable) as refused:
            await impatient
        assert refused.value.retry_after is not None
    assert await crowd.all() == ["patient"]
    assert (crowd.admission._free, crowd.admission.waiting) == (2, 0)


async def test_a_turn_given_to_one_who_is_cancelled_at_that_moment_goes_on() -> None:
    crowd = Crowd(1)
    async with crowd.admission.turn(Rank.REQUEST, within=1):
        first = await crowd.join("first")
        await crowd.join("second")
    first.cancel()  # it has its turn by now, and has not run yet
    assert await crowd.all() == ["second"]
    assert crowd.admission._free == 1


async def test_who_cannot_be_served_in_time_is_refused_at_once() -> None:
    crowd = Crowd(1)
    crowd.admission._turn_seconds = 0.5
    async with crowd.admission.turn(Rank.REQUEST, within=1):
        for name in ("a", "b", "c"):
            await crowd.join(name, within=2)
        late = await crowd.join("late", within=1)
        assert late.done()
        with pytest.raises(DatabaseUnavailable) as refused:
            await late
        assert refused.value.retry_after is not None
        assert refused.value.retry_after.total_seconds() == 2
    assert await crowd.all() == ["a", "b", "c"]
