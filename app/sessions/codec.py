"""Bytes of a Redis entry: one letter says what it is, a record carries its format version and a proof that we wrote it. Never pickle.

`R2`, 16 bytes of keyed BLAKE2b over all that follows and the key it lies under (so over epoch and login), until when it may be believed,
the record. A format we do not know, damaged, foreign or forged bytes are no error: they are a miss, counted by the caller.
Holds and leases are not proven: who forges one makes us ask SQL.
"""

import hashlib
import hmac
from collections.abc import Sequence

import msgspec

from app.sessions.record import MAX_DATA_BYTES, Entry, Hold, Lease, Record

_FORMAT = b"R2"
_HOLD, _LEASE = b"H", b"L"
_PROOF, _TIME = 16, 8
_PURPOSE = b"holdfast: records in Redis"
# More than any session we wrote takes, with its deadlines around it.
MAX_BYTES = 2 * MAX_DATA_BYTES
# By so much the clocks of two servers may differ without costing more than a question to SQL saves.
SKEW_MS = 60_000
_decoder = msgspec.msgpack.Decoder(Record)
_encoder = msgspec.msgpack.Encoder()


class Damaged(ValueError):
    """Bytes that are no entry of ours."""


class TooLong(Damaged):
    """To be taken away: it would be fetched again by every request."""


def encode_marker(marker: Hold | Lease) -> bytes:
    return (_HOLD if isinstance(marker, Hold) else _LEASE) + marker.token.encode()


class Codec:
    """Writes with the first of `secrets`, reads what any of them wrote."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [hmac.digest(secret.encode(), _PURPOSE, "sha256") for secret in secrets]

    def encode(self, record: Record, *, under: str, until_ms: int) -> bytes:
        sealed = until_ms.to_bytes(_TIME, "big") + _encoder.encode(record)
        return _FORMAT + _prove(self._keys[0], under, sealed) + sealed

    def decode(self, raw: bytes, *, under: str, now_ms: int, most_ms: int) -> Entry:
        """The entry found `under` a key, a record of which may live `most_ms`. Raises `Damaged`."""
        if len(raw) > MAX_BYTES:
            raise TooLong("longer than any entry")
        try:
            if raw.startswith(_FORMAT):
                return self._decode_record(raw[len(_FORMAT) :], under, now_ms, most_ms)
            if raw[:1] in (_HOLD, _LEASE):
                token = raw[1:].decode("ascii")
                return Hold(token) if raw[:1] == _HOLD else Lease(token)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Damaged("damaged bytes") from error
        raise Damaged("unknown format")

    def _decode_record(self, body: bytes, under: str, now_ms: int, most_ms: int) -> Record:
        proof, sealed = body[:_PROOF], body[_PROOF:]
        if not any(hmac.compare_digest(proof, _prove(key, under, sealed)) for key in self._keys):
            raise Damaged("not written by us, or not for this key")
        # Who puts an older record back cannot make it live on: what it says is over when it would have been.
        if not -SKEW_MS < int.from_bytes(sealed[:_TIME], "big") - now_ms <= most_ms + SKEW_MS:
            raise Damaged("no longer to be believed")
        return _decoder.decode(sealed[_TIME:])


def _prove(key: bytes, under: str, sealed: bytes) -> bytes:
    proof = hashlib.blake2b(under.encode(), key=key, digest_size=_PROOF)
    proof.update(b"\0")
    proof.update(sealed)
    return proof.digest()
