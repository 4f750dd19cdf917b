"""Tells settings that protect nothing although their form is right: keys anybody could guess, proxies that could be anybody."""

import re
from base64 import b64decode
from functools import cache
from hashlib import md5, sha1, sha256
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from itertools import pairwise

from app.core.trusted_proxies import parse_network

HOW_TO_MAKE_A_KEY = 'make one with python3 -c "import secrets; print(secrets.token_urlsafe(48))"'

# Checking is quadratic in places; a key that is strong this far is strong.
_LOOKED_AT = 256
# What stands in examples, templates and tutorials. Beside these a key has to have enough of its own.
_EXAMPLE_WORDS = (
    "changeme changethis change_me change-me replaceme replace-me replace_me insecure notsecure unsafe django flask quart holdfast secret "
    "example sample default development production testing test token metrics password passphrase placeholder dummy foobar please "
    "session cookie signing your yoursecret todo fixme local only for key not use this with real random string something here value"
)
_EXAMPLES = re.compile("|".join(sorted(_EXAMPLE_WORDS.split(), key=len, reverse=True)))
_ROWS = ("qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm", "azertyuiopqsdfghjklmwxcvbn", "1qaz2wsx3edc4rfv5tgb6yhn7ujm")
_FIVE_CONSONANTS = re.compile("[bcdfghjklmnpqrstvwxz]{5}")
# The pairs of letters that English, German, French and Spanish are mostly made of; of random letters they are one in eleven.
_PAIRS = (
    "th he in er an re nd on en at ou ed ha to or it is hi es ng st ar te se ro ch de ie ei di ic un la le nt co al ec ra li me ne om ve "
    "ta si tr ur ri us el ti os ea io il ma ce"
)
_FREQUENT_PAIRS = frozenset(_PAIRS.split())
_SWAPS = str.maketrans("0134578@$!", "oieastbasi")
# A command or a placeholder that nothing has replaced.
_UNREPLACED = re.compile(r"\$\(.+ .+\)|\$\{\w+[^\w].*\}|\$\{\w+\}|\$\w+|<[\w .-]+>|\{\{.+\}\}|%\w+%")
# Narrower than this a network may be somebody's own; wider it is a part of the Internet.
_WIDEST_V4, _WIDEST_V6 = 8, 16
_UNIQUE_LOCAL = IPv6Network("fc00::/7")


def key_weakness(key: str) -> str | None:
    """Why this key is no secret, in words that follow "it", or None. A key from a random generator passes."""
    text = key[:_LOOKED_AT]
    lowered = text.lower()
    if _UNREPLACED.fullmatch(text.strip()):
        return "is a command or a placeholder that nothing has replaced"
    if len(set(text)) < min(9, len(text) // 3 + 1):
        return "has too few different characters"
    if text.isdecimal():
        return "has nothing but digits"
    if _repeats(text):
        return "repeats itself"
    if _is_mostly_a_row(lowered):
        return "is a row of neighbouring characters or keys"
    if lowered in _hashes_of_examples():
        return "is the hash of an example"
    if _is_made_of_examples(lowered) or _is_made_of_examples(lowered.translate(_SWAPS)) or _is_made_of_words(text):
        return "is an example or made of words"
    if (encoded := _text_in_base64(text)) is not None and key_weakness(encoded):
        return "is in base64 what could be guessed"
    return None


def networks_too_wide(proxies: str) -> list[str]:
    """Those of a list of addresses and networks, or of what they add up to, that hold half of the Internet; `*` is one of them."""
    parts = [part.strip() for part in proxies.split(",") if part.strip()]
    wide = [part for part in parts if part == "*"]
    v4: list[IPv4Network] = []
    v6: list[IPv6Network] = []
    for part in parts:
        try:
            network = parse_network(part)
        except ValueError:
            continue  # `*`, or what the setting's own check speaks of
        if isinstance(network, IPv4Network):
            v4.append(network)
        else:
            v6.append(network)
    # Added up, because halves make a whole.
    wide += [str(each) for each in collapse_addresses(v4) if each.prefixlen < _WIDEST_V4]
    wide += [str(each) for each in collapse_addresses(v6) if each.prefixlen < _WIDEST_V6 and not each.subnet_of(_UNIQUE_LOCAL)]
    return wide


def _repeats(text: str) -> bool:
    """Whether a third of what is there was there before; of a random key hardly anything was, whatever its alphabet."""
    threes = [text[start : start + 3] for start in range(len(text) - 2)]
    return len(set(threes)) < len(threes) * 2 / 3


def _is_mostly_a_row(lowered: str) -> bool:
    near = sum(abs(ord(one) - ord(two)) <= 1 for one, two in pairwise(lowered))
    pairs = {row[start : start + 2] for row in _ROWS for start in range(len(row) - 1)}
    rows = sum(lowered[start : start + 2] in pairs or lowered[start : start + 2][::-1] in pairs for start in range(len(lowered) - 1))
    return max(near, rows) > len(lowered) * 3 / 5


def _is_made_of_examples(lowered: str) -> bool:
    letters = re.sub(r"[\W_]+", "", lowered)
    own = re.sub(r"[\W_]+", "", _EXAMPLES.sub("", lowered))
    return "insecure" in lowered or len(own) < len(letters) / 2


def _is_made_of_words(text: str) -> bool:
    """Letters in long runs and in the pairs that a language has; random text has neither."""
    if re.fullmatch("[0-9a-fA-F-]+", text):
        return False
    runs = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", text)
    letters = "".join(runs)
    if len(letters) < len(text) / 2 or len(letters) / len(runs) < (3 if " " in text else 4):
        return False
    pairs = ["".join(pair).lower() for run in runs for pair in pairwise(run)]
    frequent = sum(pair in _FREQUENT_PAIRS for pair in pairs) / len(pairs)
    vowels = len(re.sub("[^aeiouyAEIOUY]", "", letters)) / len(letters)
    return frequent > 0.35 or (frequent > 0.25 and vowels > 0.3 and not any(_FIVE_CONSONANTS.search(run.lower()) for run in runs))


def _text_in_base64(text: str) -> str | None:
    """What people wrote before something encoded it, as for a Kubernetes Secret; never so of random bytes."""
    try:
        decoded = b64decode(text + "=" * (-len(text) % 4), b"-_" if re.search("[-_]", text) else None, validate=True).decode("ascii")
    except ValueError:
        return None
    return decoded if decoded.strip().isprintable() else None


@cache
def _hashes_of_examples() -> frozenset[str]:
    words = ("", "\n", *_EXAMPLE_WORDS.split())
    made_by = (md5, sha1, sha256)
    return frozenset(make(word.encode(), usedforsecurity=False).hexdigest() for word in words for make in made_by)
