"""Bytes of a Redis entry: one letter says what it is, a record carries its format version. Never pickle.

A format we do not know, or damaged bytes, are no error: they are a miss, counted by the caller.
"""

import msgspec

from app.sessions.record import Entry, Hold, Lease, Record

_FORMAT = b"R1"
_HOLD, _LEASE = b"H", b"L"
_decoder = msgspec.msgpack.Decoder(Record)
_encoder = msgspec.msgpack.Encoder()


class Damaged(ValueError):
    """Bytes that are no entry of a format we know."""


def encode(entry: Entry) -> bytes:
    if isinstance(entry, Record):
        return _FORMAT + _encoder.encode(entry)
    return (_HOLD if isinstance(entry, Hold) else _LEASE) + entry.token.encode()


def decode(raw: bytes) -> Entry:
    """The entry in `raw`. Raises `Damaged`."""
    try:
        if raw.startswith(_FORMAT):
            return _decoder.decode(raw[len(_FORMAT) :])
        if raw[:1] in (_HOLD, _LEASE):
            token = raw[1:].decode("ascii")
            return Hold(token) if raw[:1] == _HOLD else Lease(token)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged("damaged bytes") from error
    raise Damaged("unknown format")
