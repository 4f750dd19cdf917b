"""What a client may ask of the server before the application has seen anything: on real sockets, with limits of the test's own."""

import asyncio
from http import HTTPStatus

import pytest

from app.core.config import load_settings
from app.http.uploads import ENVELOPE, MAX_DISCARDED_BODY
from app.server import protocol
from app.server.gate import ConnectionLimits
from tests.servers.guarded import GET, LAST, POST, ask, connected, guarded_site, refusals, status_of
from tests.waiting import until

AMBIGUOUS = {
    "two_hosts": (GET + b"Host: b\r\n\r\n", 400),
    "no_host": (b"GET /a HTTP/1.1\r\n\r\n", 400),
    "length_and_chunked": (
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
    ),
    "chunked_and_length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
    ),
    "two_lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy", 400),
    "length_list": (POST + b"Content-Length: 1, 1\r\n\r\nx", 400),
    "length_with_sign": (POST + b"Content-Length: +1\r\n\r\nx", 400),
    "length_too_long": (POST + b"Content-Length: 99999999999999999999999\r\n\r\nx", 400),
    "folded_line": (GET + b"X-A: b\r\n c\r\n\r\n", 400),
    "two_codings": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "two_coding_lines": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "coding_unknown": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "coding_in_http_1_0": (b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "space_before_colon": (GET + b"X-A : b\r\n\r\n", 400),
    "line_feeds_alone": (b"GET /a HTTP/1.1\nHost: a\n\n", 400),
    **{f"control_{byte}_in_value": (GET + b"X-A: a" + bytes([byte]) + b"b\r\n\r\n", 400) for byte in (*range(32), 127) if byte != 9},
    "null_in_name": (GET + b"X\x00A: b\r\n\r\n", 400),
    "null_in_target": (b"GET /a\x00b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "bytes_in_target": (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "version_2": (b"GET /a HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "http_2_preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "connect": (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "connect_path": (b"CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "credentials_in_target": (b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "other_scheme": (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "unknown_method": (b"HACK /a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "chunk_size_wrong": (POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    "chunk_size_overflows": (POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400),
    "chunk_end_missing": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
    "long_target": (b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "large_header": (GET + b"X-A: " + b"x" * 9000 + b"\r\n\r\n", 431),
    "large_header_name": (GET + b"X" * 9000 + b": a\r\n\r\n", 431),
    "many_bytes": (GET + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 200) for n in range(60)) + b"\r\n", 431),
    "many_headers": (GET + b"".join(b"X-%d: a\r\n" % n for n in range(101)) + b"\r\n", 431),
}


async def test_ambiguous_or_oversized_request_is_refused_and_ends_its_connection() -> None:
    async with guarded_site() as site:
        for name, (request, expected) in AMBIGUOUS.items():
            seen = len(site.seen)
            # What follows must not be taken for a request of its own.
            answer = await ask(site.port, request + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
            assert status_of(answer) == expected, (name, answer)
            assert answer.count(b"HTTP/1.1 ") == 1, (name, answer)
            assert b"connection: close" in answer, name
            # A request with a broken body may be known to the application, never with a complete one.
            assert not any("/smuggled" in each or "/b" in each for each in site.seen[seen:]), (name, site.seen)
        assert site.bodies == []
        assert status_of(await ask(site.port, GET + LAST)) == 200


ORDINARY = {
    "http_1_0_without_host": (b"GET /a HTTP/1.0\r\n\r\n", "/a"),
    "http_1_0_keep_alive": (b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "/a"),
    "empty_value": (GET + b"X-Empty:\r\nX-Next: b\r\n" + LAST, "/a"),
    "tab_and_latin_1": (GET + b"X-A: a\tb\xe9\r\n" + LAST, "/a"),
    "absolute_target": (b"GET http://b:80/c?d HTTP/1.1\r\nHost: a\r\n" + LAST, "/c"),
    "absolute_target_without_path": (b"GET HTTP://b HTTP/1.1\r\nHost: a\r\n" + LAST, "/"),
    "trace": (b"TRACE /a HTTP/1.1\r\nHost: a\r\n" + LAST, "/a"),
    "small_chunks": (POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 300 + b"0\r\n\r\n", "/a"),
    "chunk_extension": (POST + b"Connection: close\r\nTransfer-Encoding: Chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n", "/a"),
    "no_upgrade_to_websocket": (
        GET
        + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n\r\nframes",
        "/a",
    ),
    "no_upgrade_to_h2c": (GET + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQ\r\n\r\nPRI *", "/a"),
    "no_upgrade_with_a_body": (POST + b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 1\r\n\r\nxGET /smuggled HTTP/1.1\r\n", "/a"),
}


async def test_ordinary_request_in_an_unusual_form_is_answered() -> None:
    async with guarded_site() as site:
        for name, (request, path) in ORDINARY.items():
            seen = len(site.seen)
            answer = await ask(site.port, request)
            assert status_of(answer) == 200, (name, answer)
            assert [each.split()[1] for each in site.seen[seen:]] == [path], name
            if name.startswith("absolute"):
                assert next(value for key, value in site.headers[-1] if key == b"host").startswith(b"b"), "the target's host counts"
            if name == "empty_value":
                assert (b"x-next", b"b") in site.headers[-1]
        assert b"x" * 300 in site.bodies


async def test_trailer_is_no_header() -> None:
    async with guarded_site() as site:
        chunks = b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\nx\r\n0\r\nCookie: stolen\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
        assert status_of(await ask(site.port, POST + chunks)) == 200
        assert not {b"cookie", b"x-forwarded-for"} & {name for name, _ in site.headers[-1]}


async def test_head_that_does_not_end_is_refused_by_bytes_and_by_time() -> None:
    async with guarded_site(head_seconds=0.5) as site:
        async with connected(site.port) as client:
            await client.send(GET + b"X-A: ")
            for _ in range(100):
                await client.send(b"x" * 1000)
            assert status_of(await client.rest()) == 431
        for slow in (b"G", GET, GET + b"X-A"):
            assert status_of(await ask(site.port, slow)) == 408, slow
        for silent in (b"", b"\r\n\r\n"):
            assert await ask(site.port, silent) == b"", "who asked for nothing is told nothing"
        async with connected(site.port) as client:  # the same after a request that was in order
            await client.send(GET + b"\r\n")
            assert await client.line() == b"HTTP/1.1 200 OK\r\n"
            await client.send(b"\r\n")
            await client.rest()
        assert site.seen == ["GET /a"]


async def test_kept_connection_is_closed_when_nobody_uses_it() -> None:
    async with guarded_site(keep_alive=1) as site:
        assert (await ask(site.port, GET + b"\r\n")).endswith(b"/a")


async def test_body_below_the_lowest_rate_is_refused_and_one_above_it_is_not() -> None:
    async with guarded_site(min_rate=1000, stall_seconds=1) as site:
        began = asyncio.get_running_loop().time()
        async with connected(site.port) as client:
            await client.send(POST + b"Content-Length: 5000\r\n\r\n")
            answer = await client.rest()
        assert status_of(answer) == 408
        assert asyncio.get_running_loop().time() - began < 8
        await until(lambda: site.disconnects == 1)
        async with connected(site.port) as client:  # three seconds at 4 000 bytes a second
            await client.send(POST + b"Connection: close\r\nContent-Length: 12000\r\n\r\n")
            for _ in range(12):
                await client.send(b"x" * 1000)
                await asyncio.sleep(0.25)  # the rate is the subject here
            assert status_of(await client.rest()) == 200


async def test_body_the_application_does_not_take_yet_is_not_slow() -> None:
    async with guarded_site(min_rate=100_000, stall_seconds=0.1) as site:
        site.may_answer.clear()
        async with connected(site.port) as client:
            client.writer.write(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 5_000_000)
            await until(lambda: any(each.flow.read_paused for each in list(site.gate.connections)))  # type: ignore[attr-defined]
            now = asyncio.get_running_loop().time()
            for _ in range(5):
                for each in list(site.gate.connections):
                    each.sweep(now, 1.0)
            assert site.gate.connections, "the connection lives on"


async def test_rest_of_a_body_is_taken_for_a_while_after_its_answer() -> None:
    before = refusals("slow_body")
    async with guarded_site(linger_seconds=1) as site, connected(site.port) as client:
        await client.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 100_000)
        assert await client.line() == b"HTTP/1.1 200 OK\r\n"
        ended = asyncio.create_task(client.rest())
        while not ended.done():
            await client.send(b"x" * 10_000)
            await asyncio.sleep(0.01)
        await ended
        assert refusals("slow_body") == before + 1


async def test_refused_client_that_goes_on_sending_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may finish a sentence, to read why it was refused; not send as much as it likes until the time is over."""
    monkeypatch.setattr(protocol, "REFUSAL_READ_SECONDS", 3600.0)
    async with guarded_site() as site, connected(site.port) as client:
        await client.send(GET + b"Host: b\r\n\r\n")
        await until(lambda: any(each.transport.is_closing() or each._ended for each in list(site.gate.connections)))  # type: ignore[attr-defined]
        sent = 0
        while site.gate.connections and sent < 50 * protocol.MAX_DISCARDED:
            await client.send(b"x" * 65536)
            sent += 65536
            await asyncio.sleep(0)
        await until(lambda: not site.gate.connections)


@pytest.mark.parametrize("form", ["length", "chunks"])
async def test_body_above_all_that_the_application_takes_is_refused(form: str) -> None:
    head = b"Content-Length: 200000\r\n\r\n" if form == "length" else b"Transfer-Encoding: chunked\r\n\r\n30d40\r\n"
    async with guarded_site(max_body=100_000) as site:
        assert status_of(await ask(site.port, POST + head + b"x" * 150_000)) == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        assert site.bodies == []
        assert status_of(await ask(site.port, POST + b"Content-Length: 100000\r\n" + LAST + b"x" * 100_000)) == 200


async def test_extension_that_does_not_end_is_refused_behind_a_large_body_too() -> None:
    """A body of megabytes allows for as much wrapping in all, never for so much of it in a row."""
    async with guarded_site() as site, connected(site.port) as client:
        await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n1e8480\r\n" + b"x" * 2_000_000 + b"\r\n1;")
        for _ in range(100):
            await client.send(b"x" * 1000)
        assert status_of(await client.rest()) == 400


@pytest.mark.parametrize("piece", [b"1;" + b"x" * 50 + b"\r\na\r\n", b"1\r\na\r\n"], ids=["extensions", "tiny"])
async def test_chunks_that_are_mostly_wrapping_are_refused(piece: bytes) -> None:
    async with guarded_site() as site, connected(site.port) as client:
        await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(200):
            await client.send(piece * 300)
            if client.reader.at_eof():
                break
        assert status_of(await client.rest()) == 400


@pytest.mark.parametrize("begin", [b"1;", b"0\r\nX-A: ", b"0\r\n"], ids=["extension", "trailer", "trailers"])
async def test_extension_and_trailers_that_do_not_end_are_refused(begin: bytes) -> None:
    async with guarded_site() as site, connected(site.port) as client:
        await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + begin)
        await until(lambda: site.seen == ["POST /a"])
        for n in range(100):
            await client.send(b"x" * 1000 if begin != b"0\r\n" else b"X-%d: %s\r\n" % (n, b"x" * 1000))
        assert status_of(await client.rest()) == 400


async def test_requests_far_ahead_of_their_answers_are_not_taken() -> None:
    """Those before the limit are answered, in order; the connection then ends."""
    async with guarded_site() as site:
        site.may_answer.clear()
        async with connected(site.port) as client:
            await client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(5000)))
            await until(lambda: bool(site.seen))
            site.may_answer.set()
            answers = (await client.rest()).split(b"HTTP/1.1 200 OK")[1:]
        assert 1 <= len(answers) <= 20
        assert [int(each.rpartition(b"/")[2]) for each in answers] == list(range(len(answers)))
        assert len(site.seen) == len(answers)


async def test_client_that_does_not_read_its_answer_is_let_go() -> None:
    async with guarded_site(min_rate=1_000_000, stall_seconds=1) as site:
        site.answer_bytes = 50_000_000
        async with connected(site.port) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(GET + b"\r\n")
            await until(lambda: bool(site.seen))
            await until(lambda: not site.gate.connections, within=15)
        assert refusals("slow_reader") > 0


async def test_client_that_takes_its_answer_slowly_gets_all_of_it() -> None:
    async with guarded_site(min_rate=100_000, stall_seconds=1) as site:
        site.answer_bytes = 2_000_000
        async with connected(site.port) as client:
            await client.send(GET + LAST)
            got = 0
            async with asyncio.timeout(20):
                while piece := await client.reader.read(200_000):
                    got += len(piece)
                    await asyncio.sleep(0.1)  # the rate is the subject here
            assert got > 2_000_000


async def test_client_that_leaves_an_answer_lying_is_let_go_after_the_end() -> None:
    """Where the connection is to be closed, what is left of its answer waits for a while, not for ever."""
    async with guarded_site(close_seconds=1) as site:
        site.answer_bytes = 50_000_000
        async with connected(site.port) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(GET + LAST)
            await until(lambda: not site.gate.connections, within=15)


def test_limits_leave_room_for_what_the_application_takes() -> None:
    limits = ConnectionLimits.of(load_settings({}))
    assert limits.max_body > MAX_DISCARDED_BODY + ENVELOPE, "the application says 413 itself"
    assert limits.max_request_line < limits.max_header_bytes
