"""HTTP/1.1 as uvicorn speaks it, bounded before the application sees anything: heads, bodies, answers, waiting, and what is ambiguous.

It overrides uvicorn's protocol, which `tests/architecture/test_internals.py` guards, and never reads a byte twice: what a client may
cost grows with the bytes it sent, and stops at a limit (`gate.Limits`).
"""

import asyncio
import re
import time
from http import HTTPStatus
from typing import Any, NoReturn

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.server.gate import Gate, plain_address
from app.server.overload import RECEIVED_AT

# A client that is still sending gets to read why it was refused, if it stops within this time and so many bytes.
REFUSAL_READ_SECONDS = 2.0
MAX_DISCARDED = 1024 * 1024
_ABSOLUTE = re.compile(rb"(?i)https?://([^/?#@]+)((?:[/?][^#]*)?)$")

Refusal = tuple[HTTPStatus, str]


class Refused(Exception):
    """Raised out of a callback of the parser; `_refusal` has the reason."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `gate` is what those of one process share."""

    def __init__(self, *args: Any, gate: Gate, **values: Any) -> None:
        super().__init__(*args, **values)
        self.gate = gate
        self.limits = gate.limits
        self.address = ""
        self._refusal: Refusal | None = None
        # Further input is ignored.
        self._ended = False
        self._close_by: float | None = None
        self._discarded = 0
        self._since = 0.0
        self._running: Any = None
        self._in_head = False
        self._head_until: float | None = None
        self._head_bytes = 0
        self._begun = 0
        self._in_body = False
        self._chunked = False
        self._payload = self._payload_seen = self._payload_swept = 0
        self._overhead = self._silence = 0
        self._linger_until: float | None = None
        self._full_credit = self.limits.min_rate * self.limits.stall_seconds
        self._body_credit = self._write_credit = self._full_credit
        self._write_left = 0

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client:
            self.client = (plain_address(self.client[0]), self.client[1])
            self.address = self.client[0]
        refusal = self.gate.enter(self)
        self._since = self.loop.time()
        self._head_until = self._since + self.limits.head_seconds
        if refusal:
            self.gate.count_refusal(refusal, self.address)
            self._ended = True
            self._write_error(HTTPStatus.SERVICE_UNAVAILABLE)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gate.leave(self)
        # The request being answered may have others behind it: uvicorn itself disconnects the last of them only.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED:
                self.transport.abort()
            return
        self._unset_keepalive_if_required()
        in_head, in_body = self._in_head, self._in_body
        self._begun = 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nobody is obliged to follow an Upgrade (RFC 9110, 7.8): the request is answered as plain HTTP, and is the last one.
            self._ended = True
            self.cycle.keep_alive = False
            return
        except httptools.HttpParserError:
            self._refuse(self._refusal or (HTTPStatus.BAD_REQUEST, "malformed"))
            return
        if self._in_head:
            self._check_head_size(len(data), goes_on=in_head and not self._begun, is_alone=not in_body and self._begun == 1)
        elif self._in_body:
            if self._chunked and in_body and not self._begun:
                self._check_chunk_overhead(len(data))
        elif self._head_until is None and (self._running is None or self._running.response_complete):
            # Empty lines between requests, of which uvicorn took the first for the end of the wait.
            self._head_until = self.loop.time() + self.limits.head_seconds

    # What the parser finds

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= self.limits.max_pipelined:
            self._abort_parsing(HTTPStatus.TOO_MANY_REQUESTS, "pipelined")
        self._begun += 1
        self._in_head, self._head_bytes = True, 0
        if self._head_until is None:
            self._head_until = self.loop.time() + self.limits.head_seconds
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self.limits.max_request_line:
            self._abort_parsing(HTTPStatus.REQUEST_URI_TOO_LONG, "request_line")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer, which would else pass for a header
        if len(self.headers) >= self.limits.max_headers:
            self._abort_parsing(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header_count")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._check_head()
        self._in_head, self._head_until = False, None
        super().on_headers_complete()
        self._in_body, self._linger_until = True, None
        self._payload = self._payload_seen = self._payload_swept = self._overhead = self._silence = 0
        self._body_credit = self._full_credit

    def on_body(self, body: bytes) -> None:
        self._payload += len(body)
        if self._payload > self.limits.max_body:
            self._abort_parsing(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body")
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        cycle.scope[RECEIVED_AT] = time.perf_counter()
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_credit, self._write_left = self._full_credit, self.transport.get_write_buffer_size()

    # Limits

    def _check_head(self) -> None:
        """What is too much, and what two servers could read in two ways (RFC 9112, 6 and 11.2)."""
        size, hosts, codings = len(self.url), 0, []
        for name, value in self.headers:
            size += len(name) + len(value)
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                codings.append(value.strip().lower())
        version = self.parser.get_http_version()
        self._chunked = bool(codings)
        if size > self.limits.max_header_bytes:
            self._abort_parsing(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header_bytes")
        if version not in ("1.1", "1.0"):
            self._abort_parsing(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "version")
        if hosts > 1 or (not hosts and version == "1.1"):
            self._abort_parsing(HTTPStatus.BAD_REQUEST, "host")
        if codings and (codings != [b"chunked"] or version == "1.0"):
            self._abort_parsing(HTTPStatus.BAD_REQUEST, "transfer_encoding")
        if self.url[:1] != b"/" or self.parser.get_method() == b"CONNECT":
            self._take_absolute_target()

    def _take_absolute_target(self) -> None:
        """The host in the target counts, not the one in the header (RFC 9112, 3.2.2). Other targets are for proxies."""
        found = _ABSOLUTE.match(self.url)
        if found is None or self.parser.get_method() == b"CONNECT":
            self._abort_parsing(HTTPStatus.BAD_REQUEST, "target")
        self.headers[:] = [(name, found[1] if name == b"host" else value) for name, value in self.headers]
        self.url = found[2] if found[2].startswith(b"/") else b"/" + found[2]

    def _check_head_size(self, size: int, *, goes_on: bool, is_alone: bool) -> None:
        """Limit an incomplete head. Bytes shared with a previous message are not counted."""
        self._head_bytes = self._head_bytes + size if goes_on else size if is_alone else 0
        if self._head_bytes > self.limits.max_header_bytes + self.limits.max_request_line:
            self._refuse((HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header_bytes"))

    def _check_chunk_overhead(self, size: int) -> None:
        gained = self._payload - self._payload_seen
        self._payload_seen = self._payload
        self._overhead += size - gained
        self._silence = 0 if gained else self._silence + size
        if self._overhead > self.limits.max_chunk_overhead + self._payload or self._silence > self.limits.max_chunk_silence:
            self._refuse((HTTPStatus.BAD_REQUEST, "chunks"))

    # Time: `Gate` asks once a second

    def waiting_since(self) -> float | None:
        is_busy = self._in_body or (self._running is not None and not self._running.response_complete)
        return None if is_busy else self._since

    def close_to_make_room(self) -> None:
        self._ended = True
        self.transport.close()

    def sweep(self, now: float, elapsed: float) -> None:
        if self._close_by is not None and now > self._close_by:
            self.transport.abort()
        elif self.transport.is_closing():
            self._close_by = self._close_by or now + self.limits.close_seconds
        elif self.flow.write_paused:
            self._sweep_answer(elapsed)
        elif self._ended:
            return
        elif self._in_body:
            self._sweep_body(now, elapsed)
        elif self._head_until is not None and now > self._head_until and not self.flow.read_paused:
            self._end_head()

    def _end_head(self) -> None:
        if self._in_head:
            self._refuse((HTTPStatus.REQUEST_TIMEOUT, "slow_head"))
        else:  # it never sent a request, so it gets no answer
            self.gate.count_refusal("silent", self.address)
            self.transport.close()

    def _sweep_body(self, now: float, elapsed: float) -> None:
        if self.cycle.response_complete:
            self._linger_until = self._linger_until or now + self.limits.linger_seconds
            if now > self._linger_until:
                self.gate.count_refusal("slow_body", self.address)
                self.transport.abort()
                return
        gained, self._payload_swept = self._payload - self._payload_swept, self._payload
        if self.flow.read_paused:
            return  # the application is the slow one
        self._body_credit = min(self._body_credit + gained - self.limits.min_rate * elapsed, self._full_credit)
        if self._body_credit < 0:
            self._refuse((HTTPStatus.REQUEST_TIMEOUT, "slow_body"))

    def _sweep_answer(self, elapsed: float) -> None:
        left = self.transport.get_write_buffer_size()
        taken, self._write_left = max(0, self._write_left - left), left
        self._write_credit = min(self._write_credit + taken - self.limits.min_rate * elapsed, self._full_credit)
        if self._write_credit < 0:
            self.gate.count_refusal("slow_reader", self.address)
            self.transport.abort()

    # Refusing

    def _abort_parsing(self, status: HTTPStatus, reason: str) -> NoReturn:
        """Stop the parser from inside one of its callbacks."""
        self._refusal = (status, reason)
        raise Refused

    def _refuse(self, refusal: Refusal) -> None:
        status, reason = refusal
        self.gate.count_refusal(reason, self.address)
        self._ended = True
        running = self._running
        if self._in_body:
            self._abort_response(status)
        elif running is not None and not running.response_complete:
            # Those before it were in order and are answered; the last of them ends the connection.
            self.cycle.keep_alive = False
        else:
            self._write_error(status)
            self._discard_rest()

    def _abort_response(self, status: HTTPStatus) -> None:
        """The request being answered is the faulty one: end its response so that the client notices."""
        cycle = self.cycle
        is_unanswered = cycle is self._running and not cycle.response_started
        cycle.disconnected = True
        cycle.message_event.set()
        if is_unanswered:
            self._write_error(status)
            self._discard_rest()
        else:
            self.transport.close()

    def _write_error(self, status: HTTPStatus) -> None:
        text = f"{status.phrase}\n".encode()
        head = [f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()]
        head += [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        head += [b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n" % len(text)]
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            head.append(b"retry-after: 5\r\n")
        self.transport.write(b"".join([*head, b"\r\n", text]))

    def _discard_rest(self) -> None:
        # If it closed with unread input, the kernel would reset the connection and discard the answer.
        self._close_by = self.loop.time() + REFUSAL_READ_SECONDS
        self.transport.write_eof()
