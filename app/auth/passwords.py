"""Hashes and verifies passwords with argon2id, and checks new ones."""

import asyncio
import os
import sys
import threading
import unicodedata
from base64 import b64encode
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.auth.common_passwords import is_common
from app.auth.own_words import is_hardly_changed, is_made_of
from app.core.config import Settings
from app.core.errors import BadRequest

MIN_LENGTH = 8
MAX_BYTES = 1024


# A hash costs 19 MiB and tens of milliseconds of a core: four at once keep a burst of sign-ins from starving everything else.
# Below everything else in the scheduler's eyes, too: on two cores they would take the event loop's turn.
def _lower_priority() -> None:
    if sys.platform == "linux":  # elsewhere this would be the whole process
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


_threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="password", initializer=_lower_priority)


def check_new_password(password: str, words: Collection[str] = (), *, current: str | None = None) -> None:
    """Refuse a password that is too short, too long or among the first anybody would try (NIST SP 800-63B, ASVS V6.2).

    `words` are those its person is known by (`own_words`), `current` is the password it shall replace.
    """
    text = _normalised(password)
    if len(_bytes(text)) > MAX_BYTES:
        raise BadRequest("The password is too long: at most 1024 bytes.", code="password_too_long")
    if len(text) < MIN_LENGTH:
        raise BadRequest("The password is too short: at least 8 characters that nobody would guess.", code="password_too_short")
    if len(set(text)) < 3 or is_common(text):
        raise BadRequest(
            "The password is among the first anybody would try, however long it is. Choose several words that do not belong together.",
            code="password_too_common",
        )
    if current is not None and is_hardly_changed(text, _normalised(current)):
        raise BadRequest("The new password is the old one, or differs from it by hardly more than a digit.", code="password_unchanged")
    if is_made_of(text, words):
        raise BadRequest(
            "The password is made of your name, address, organisation or the name of this site. Choose words nobody connects with you.",
            code="password_personal",
        )


async def hash_password(password: str, settings: Settings) -> str:
    """The argon2id hash to store. Apply `check_new_password` first."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_threads, _hasher(settings).hash, _bytes(_normalised(password)))


async def verify_password(stored: str | None, password: str, settings: Settings) -> bool:
    """Whether `password` belongs to the hash `stored`. None, for nobody, costs the same time and is False."""
    candidate = _bytes(_normalised(password))
    if len(candidate) > MAX_BYTES:
        return False
    loop = asyncio.get_running_loop()
    matches = await loop.run_in_executor(_threads, _matches, _hasher(settings), stored or _dummy_hash(settings), candidate)
    return matches and stored is not None


def _matches(hasher: PasswordHasher, stored: str, candidate: bytes) -> bool:
    try:
        return hasher.verify(stored, candidate)
    except (VerificationError, InvalidHashError):
        return False


def _hasher(settings: Settings) -> PasswordHasher:
    return PasswordHasher(time_cost=settings.password_time_cost, memory_cost=settings.password_memory_kib, parallelism=1)


def _dummy_hash(settings: Settings) -> str:
    """A well-formed hash with the current parameters that matches no known password."""
    salt, digest = (b64encode(bytes(length)).decode().rstrip("=") for length in (16, 32))
    return f"$argon2id$v=19$m={settings.password_memory_kib},t={settings.password_time_cost},p=1${salt}${digest}"


def _normalised(password: str) -> str:
    """Keyboards compose accents differently; the same password must stay the same."""
    if len(password) > MAX_BYTES:
        return password  # refused by its length, and not worth the time
    return unicodedata.normalize("NFKC", password)


def _bytes(password: str) -> bytes:
    # JSON can carry half of a surrogate pair, which plain UTF-8 refuses.
    return password.encode("utf-8", "surrogatepass")
