"""Tells settings that protect nothing although their form is right: keys anybody could guess, proxies that could be anybody."""

import re
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from itertools import pairwise

from app.trusted_proxies import parse_network

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
# Narrower than this a network may be somebody's own; wider it is a part of the Internet.
_WIDEST_V4, _WIDEST_V6 = 8, 16
_UNIQUE_LOCAL = IPv6Network("fc00::/7")


def key_weakness(key: str) -> str | None:
    """Why this key is no secret, in words that follow "it", or None. A key from a random generator passes."""
    text = key[:_LOOKED_AT]
    lowered = text.lower()
    if len(set(text)) < min(9, len(text) // 3 + 1):
        return "has too few different characters"
    if text.isdecimal():
        return "has nothing but digits"
    if _repeats(text):
        return "repeats itself"
    if _is_mostly_a_row(lowered):
        return "is a row of neighbouring characters or keys"
    own = re.sub(r"[\W_]+", "", _EXAMPLES.sub("", lowered))
    if "insecure" in lowered or len(own) < len(text) // 2 or _is_made_of_words(text):
        return "is an example or made of words"
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


def _is_made_of_words(text: str) -> bool:
    """Letters in long runs, with a language's share of vowels and no more consonants in a row than it has; random text has neither."""
    if re.fullmatch("[0-9a-fA-F-]+", text):
        return False
    runs = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", text)
    letters = "".join(runs).lower()
    if len(letters) < len(text) / 2 or len(letters) / len(runs) < 4 or any(_FIVE_CONSONANTS.search(run.lower()) for run in runs):
        return False
    return len(re.sub("[^aeiouy]", "", letters)) / len(letters) >= 0.33
