"""Which keys and trusted proxies protect nothing, and that no generator's key is taken for one."""

import random
import string
from base64 import b32encode, b64encode
from collections.abc import Callable
from uuid import UUID

import pytest

from app.core.weak_settings import key_weakness, networks_too_wide

GENERATORS: dict[str, Callable[[random.Random], str]] = {
    "openssl rand -hex 32": lambda chance: chance.randbytes(32).hex(),
    "openssl rand -hex 16": lambda chance: chance.randbytes(16).hex(),
    "openssl rand -base64 32": lambda chance: b64encode(chance.randbytes(32)).decode(),
    "secrets.token_urlsafe(24)": lambda chance: b64encode(chance.randbytes(24), b"-_").decode(),
    "pwgen 32": lambda chance: "".join(chance.choices(string.ascii_letters + string.digits, k=32)),
    "two kilobytes": lambda chance: chance.randbytes(1024).hex(),
    "Django": lambda chance: "".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789!@#$%^&*(-_=+)", k=50)),
    "a manager of passwords": lambda chance: "".join(chance.choices([chr(code) for code in range(33, 127)], k=40)),
    "two UUIDs": lambda chance: f"{UUID(int=chance.getrandbits(128))}{UUID(int=chance.getrandbits(128))}",
    "hex, in base64 once more": lambda chance: b64encode(chance.randbytes(32).hex().encode()).decode(),
}
# Of an alphabet of one case, where random letters now and then look like words.
FEW_LETTERS: dict[str, Callable[[random.Random], str]] = {
    "lower case": lambda chance: "".join(chance.choices(string.ascii_lowercase, k=32)),
    "lower case and digits": lambda chance: "".join(chance.choices(string.ascii_lowercase + string.digits, k=32)),
    "base32": lambda chance: b32encode(chance.randbytes(20)).decode(),
}


@pytest.mark.parametrize("generator", GENERATORS)
def test_key_of_a_generator_is_taken(generator: str) -> None:
    chance = random.Random(7)
    assert [key for key in (GENERATORS[generator](chance) for _ in range(300)) if key_weakness(key)] == []


@pytest.mark.parametrize("generator", FEW_LETTERS)
def test_key_of_few_letters_is_hardly_ever_taken_for_words(generator: str) -> None:
    chance = random.Random(7)
    assert sum(key_weakness(FEW_LETTERS[generator](chance)) is not None for _ in range(1000)) < 10


@pytest.mark.parametrize(
    "key",
    [
        "k" * 32,
        "ab" * 20,
        "\u00e4" * 20,
        "only-for-tests-" * 3,
        "0123456789abcdef0123456789abcdef",
        "fedcba9876543210fedcba9876543210",
        "31415926535897932384626433832795",
        "00112233445566778899aabbccddeeff",
        "deadbeefcafebabedeadbeefcafebabe",
        "abcdefghijklmnopqrstuvwxyz012345",
        "qwertyuiopasdfghjklzxcvbnm123456",
        "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,",
        "your-secret-key-change-me-in-production",
        "django-insecure-k3x9vq0w7z1m5",
        "please-change-this-secret-key-0123456789",
        "development-secret-key-holdfast-2024",
        "correct horse battery staple is long",
        "CorrectHorseBatteryStapleIsLongEnough",
        "thisisaverylongsecretkeythatnobodyknows",
        "metrics-token-1234",
        "changeme" * 4,
        "0123456789abcdef" * 2,
        "holdfast-production-secret-key-1",
        "p4ssw0rd-s3cr3t-k3y-pr0duct10n-1",
        "AcmeGmbHHoldfastProduktion2026!!",
        "mein-geheimer-schluessel-fuer-holdfast",
        "!QAZ2wsx#EDC4rfv%TGB6yhn&UJM8ik,",
        "Thequickbrownfoxjumps0verthelazyd0g",
        "postgresql://holdfast:holdfast@db/holdfast",
        "$(openssl rand -hex 32) and nothing ran it)",
        "${SECRET_KEY:?set this to thirty-two bytes}",
        "<generate-with-openssl-rand-hex-32>",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",  # sha256 of nothing
        "5F4DCC3B5AA765D61D8327DEB882CF99",  # md5 of password
        b64encode(b"changeme" * 3).decode(),
        b64encode(b"hello world this is a secret key").decode(),
    ],
)
def test_key_that_can_be_guessed_is_told(key: str) -> None:
    assert key_weakness(key)


@pytest.mark.parametrize(
    ("proxies", "wide"),
    [
        ("127.0.0.1", []),
        ("10.0.0.0/8, 172.16.0.0/12,192.168.0.0/16", []),
        ("fd00::/8,fc00::/7,2400:cb00::/32", []),
        ("*", ["*"]),
        ("0.0.0.0/0", ["0.0.0.0/0"]),
        ("10.0.0.1, ::/0", ["::/0"]),
        ("12.0.0.0/7", ["12.0.0.0/7"]),
        ("2000::/3", ["2000::/3"]),
        ("0.0.0.0/1,128.0.0.0/1", ["0.0.0.0/0"]),
        (",".join(f"{first}.0.0.0/8" for first in range(256)), ["0.0.0.0/0"]),
        ("::ffff:0:0/96", ["0.0.0.0/0"]),
    ],
)
def test_proxies_that_could_be_anybody_are_told(proxies: str, wide: list[str]) -> None:
    assert networks_too_wide(proxies) == wide
