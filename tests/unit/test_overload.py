"""Who is let in when there is more to do than the processor can: `Overload` with a clock and a processor of the test's own."""

import asyncio

import pytest

from app.http.app import HoldfastApp
from app.http.busy_answers import BusyAnswers
from app.http.style_sheets import StyleSheets
from app.server import overload as module
from app.server.overload import MIN_RUNNING, SAMPLE_SECONDS, STUCK_SECONDS, Overload
from tests.unit.test_http_connection import body, call


class Machine:
    """A process whose loop computes for `share` of the time."""

    def __init__(self) -> None:
        self.now = self.used = 0.0
        self.share = 1.0
        self.overload = Overload(clock=lambda: self.now, thread_time=lambda: self.used)

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.used += seconds * self.share

    async def enter(self, method: str = "GET", *, late: float = 0) -> bool:
        return await self.overload.enter(method, self.now - late)

    async def fill(self, count: int = MIN_RUNNING) -> None:
        """So many are under way, one has just left, and the processor has had nothing else to do since the last look."""
        for _ in range(count + 1):
            assert await self.enter()
        self.work(SAMPLE_SECONDS * 1.1)
        self.overload.leave()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(module, "BURST_SECONDS", 0.05)
    return Machine()


async def test_everybody_is_let_in_while_the_processor_has_time(machine: Machine) -> None:
    """However many are under way: what they wait for may be a database."""
    machine.share = 0.5
    await machine.fill(10 * MIN_RUNNING)
    assert await machine.enter()


async def test_a_read_waits_for_another_one_to_leave_and_is_refused_after_a_while(machine: Machine) -> None:
    await machine.fill()
    waiting = [asyncio.create_task(machine.enter()) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert not any(each.done() for each in waiting)
    machine.overload.leave()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [each.done() for each in waiting] == [True, False, False], "first come, first served"
    assert await asyncio.gather(*waiting) == [True, False, False]


async def test_a_request_that_came_late_to_its_turn_waits_too(machine: Machine) -> None:
    """Whatever else keeps the processor from this process."""
    machine.share = 0.1
    await machine.fill()
    assert await machine.enter(late=0.01)
    assert not await machine.enter(late=0.2)


async def test_a_change_is_never_refused(machine: Machine) -> None:
    await machine.fill()
    assert await machine.enter("POST")
    assert not await machine.enter()


async def test_few_are_always_let_in(machine: Machine) -> None:
    await machine.fill(MIN_RUNNING - 1)
    assert await machine.enter()


async def test_who_waits_for_something_else_keeps_nobody_out(machine: Machine) -> None:
    """A database hangs, and with it all who are under way; whoever needs none is served."""
    await machine.fill()
    waiting = asyncio.create_task(machine.enter())
    await asyncio.sleep(0)
    machine.work(STUCK_SECONDS * 1.1)
    assert await machine.enter()
    assert await waiting


async def test_with_no_hope_it_is_refused_at_once(machine: Machine) -> None:
    await machine.fill()
    waiting = [asyncio.create_task(machine.enter()) for _ in range(MIN_RUNNING + 1)]
    await asyncio.sleep(0)
    async with asyncio.timeout(0):
        assert not await machine.enter()
    assert not any(await asyncio.gather(*waiting))


async def test_a_client_that_leaves_while_it_waits_is_no_longer_counted(machine: Machine) -> None:
    await machine.fill()
    leaves, stays = [asyncio.create_task(machine.enter()) for _ in range(2)]
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    assert leaves.cancelled()
    machine.overload.leave()
    assert await stays
    assert not machine.overload._waiting


@pytest.mark.parametrize(("path", "kind"), [("/", b"text/html; charset=utf-8"), ("/api/me", b"application/problem+json")])
async def test_the_answer_says_when_to_come_again(path: str, kind: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    app = HoldfastApp(__name__)
    app.busy_answers = BusyAnswers(StyleSheets())
    app.constant_headers.append((b"x-always", b"1"))

    async def refuse(*_: object) -> bool:
        return False

    monkeypatch.setattr(app.overload, "enter", refuse)
    for method in ("GET", "HEAD"):
        start, answer = await call(app, method, [body(b"")], path=path)
        headers = dict(start["headers"])
        assert (start["status"], headers[b"content-type"], headers[b"x-always"]) == (503, kind, b"1")
        assert int(headers[b"retry-after"]) in (1, 2, 3)
        assert len(answer["body"]) == (0 if method == "HEAD" else int(headers[b"content-length"]))


@pytest.mark.parametrize("path", ["/health/live", "/login", "/static/x.css"])
async def test_health_and_the_doors_stand_in_nobodys_way(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = HoldfastApp(__name__)
    monkeypatch.setattr(app, "overload", None)
    start, *_ = await call(app, "GET", [], path=path)
    assert start["status"] == 404


async def test_each_request_leaves_once_however_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    app = HoldfastApp(__name__)
    left: list[int] = []
    monkeypatch.setattr(app.overload, "leave", lambda: left.append(1))

    @app.get("/")
    async def fail() -> str:
        raise RuntimeError("no answer")

    await call(app, "GET", [])
    await call(app, "POST", [{"type": "http.disconnect"}], (b"content-length", b"5"))
    assert len(left) == 2
