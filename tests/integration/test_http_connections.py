"""How many connections the server keeps, whom it closes to make room, and how it tells families of addresses apart."""

import asyncio
from http import HTTPStatus

import pytest
from structlog.testing import capture_logs

from app.core.hosts import network_of
from app.core.port import has_ipv6
from app.server.gate import LOG_EVERY_SECONDS, SWEEP_SECONDS, ConnectionLimits, Gate
from tests.servers.guarded import GET, LAST, LIMITS, ask, connected, guarded_site, refusals, status_of
from tests.waiting import until


async def test_connections_are_bounded_in_all_and_for_each_address_but_not_for_a_proxy() -> None:
    async with guarded_site(max_connections_per_address=5) as site:
        held = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(5)]
        answer = await ask(site.port, b"")
        assert status_of(answer) == HTTPStatus.SERVICE_UNAVAILABLE
        assert b"retry-after" in answer
        for _, writer in held:
            writer.close()
        await until(lambda: not site.gate.connections)
        assert status_of(await ask(site.port, GET + LAST)) == 200, "what was left counts no more"
        assert not site.gate._per_address
    async with guarded_site(max_connections_per_address=2, trusted="127.0.0.0/8") as site:
        held = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(20)]
        assert status_of(await ask(site.port, GET + LAST)) == 200
        for _, writer in held:
            writer.close()


async def test_full_server_closes_who_asks_for_nothing_and_keeps_who_is_being_served() -> None:
    async with guarded_site(max_connections=6) as site:
        site.may_answer.clear()
        async with connected(site.port) as served:
            await served.send(GET + LAST)
            await until(lambda: site.seen == ["GET /a"])
            silent = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(5)]
            await until(lambda: len(site.gate.connections) == 6)
            async with connected(site.port) as another:
                await another.send(b"GET /b HTTP/1.1\r\nHost: a\r\n" + LAST)
                await until(lambda: "GET /b" in site.seen)
                async with asyncio.timeout(5):
                    assert await silent[0][0].read() == b"", "who waited longest made room"
                site.may_answer.set()
                assert status_of(await another.rest()) == 200
            assert status_of(await served.rest()) == 200
        for _, writer in silent:
            writer.close()


class Waiting:
    """A connection as the gate knows it, of which nobody has asked anything yet."""

    def __init__(self, address: str, since: float) -> None:
        self.address, self.since, self.closed, self.elapsed = address, since, False, 0.0

    def sweep(self, now: float, elapsed: float) -> None:
        self.elapsed = elapsed

    def waiting_since(self) -> float | None:
        return self.since

    def close_to_make_room(self) -> None:
        self.closed = True


async def test_full_server_makes_room_once_for_each_newcomer_and_closes_no_proxy() -> None:
    gate = Gate(ConnectionLimits(**LIMITS | {"max_connections": 4}), "10.0.0.0/8")
    proxies, strangers = [Waiting("10.0.0.1", 0), Waiting("10.0.0.2", 1)], [Waiting("192.0.2.1", 2), Waiting("192.0.2.2", 3)]
    for each in (*proxies, *strangers):
        assert gate.enter(each) is None
    newcomers = [Waiting(f"192.0.2.{n}", n) for n in (10, 11)]
    # What is closed takes a moment to be lost; the second newcomer must not count on the same place.
    assert [gate.enter(each) for each in newcomers] == [None, None]
    assert [each.closed for each in (*proxies, *strangers)] == [False, False, True, True]
    assert list(gate.connections) == [*proxies, *newcomers]


async def test_standstill_of_the_process_is_nobodys_fault() -> None:
    gate, connection = Gate(ConnectionLimits(**LIMITS), "*"), Waiting("10.0.0.1", 0)
    gate.enter(connection)
    gate._swept_at -= 60
    gate._sweep()
    assert 0 < connection.elapsed <= 2 * SWEEP_SECONDS
    gate.leave(connection)


async def test_full_server_refuses_where_everybody_is_being_served() -> None:
    async with guarded_site(max_connections=3) as site:
        site.may_answer.clear()
        busy = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(3)]
        for _, writer in busy:
            writer.write(GET + LAST)
        await until(lambda: len(site.seen) == 3)
        assert status_of(await ask(site.port, b"")) == HTTPStatus.SERVICE_UNAVAILABLE
        site.may_answer.set()
        for reader, writer in busy:
            assert status_of(await reader.read()) == 200
            writer.close()


async def test_whoever_leaves_ends_every_answer_it_waited_for() -> None:
    """Also the first of several, which uvicorn itself forgets: an event stream behind which another request was sent would never end."""
    async with guarded_site() as site:
        site.may_answer.clear()
        async with connected(site.port) as client:
            await client.send(GET + b"\r\n" + GET + b"\r\n")
            await until(lambda: site.seen == ["GET /a"])
            [connection] = site.gate.connections
            running = connection._running  # type: ignore[attr-defined]
        await until(lambda: bool(running.disconnected))


async def test_refusals_are_counted_each_and_logged_once_in_a_while() -> None:
    async with guarded_site() as site:
        before = refusals("host")
        with capture_logs() as logs:
            for _ in range(20):
                await ask(site.port, b"GET / HTTP/1.1\r\n\r\n")
            site.gate._logged["host"] -= LOG_EVERY_SECONDS
            await ask(site.port, b"GET / HTTP/1.1\r\n\r\n")
        assert refusals("host") == before + 21
        lines = [each for each in logs if each.get("reason") == "host"]
        assert [each["besides"] for each in lines] == [0, 19]
        assert lines[0]["address"] == "127.0.0.1"


async def test_ipv4_visitor_of_a_socket_for_both_families_has_its_own_address() -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    async with guarded_site(host="::") as site:
        assert status_of(await ask(site.port, GET + LAST)) == 200
        async with connected(site.port, "::1") as client:
            await client.send(GET + LAST)
            assert status_of(await client.rest()) == 200
        assert site.clients == ["127.0.0.1", "::1"]


def test_ipv6_household_is_counted_as_one() -> None:
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:2:ffff::9") != network_of("2001:db8:1:3::1")
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2%eth1")
    assert network_of("unix socket") == "unix socket"


def test_proxies_are_known_by_address_and_network() -> None:
    gate = Gate(ConnectionLimits(**LIMITS), "10.0.0.0/8, 192.0.2.7,2001:db8::/32")
    assert all(gate.is_trusted(each) for each in ("10.1.2.3", "192.0.2.7", "2001:db8::1", ""))
    assert not any(gate.is_trusted(each) for each in ("11.0.0.1", "192.0.2.8", "2001:db9::1", "::1"))
    assert Gate(ConnectionLimits(**LIMITS), "*").is_trusted("11.0.0.1")
