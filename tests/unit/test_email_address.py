"""One person, one address, however it is spelt; and none that a browser's sign-in field could not send."""

import re
import unicodedata

import pytest

from app.auth.email_address import canonical_email, checked_email, shown_email, spellings_of
from app.core.errors import BadRequest

MUNICH, ASCII = "user@münchen.example", "user@xn--mnchen-3ya.example"
# The HTML standard's own expression of what <input type="email"> takes.
WHATWG = re.compile(
    r"^[a-zA-Z0-9.!#$%&'*+\/=?^_`{|}~-]+@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$"
)


@pytest.mark.parametrize(
    "text",
    [
        MUNICH,
        ASCII,
        "USER@MÜNCHEN.EXAMPLE",
        "User@XN--MNCHEN-3YA.example",
        unicodedata.normalize("NFD", MUNICH),
        f"  {MUNICH}\t",
        MUNICH.replace("user", "us\u200ber"),
        "user@münchen\u3002example",
        "user@\uff4d\u00fcnchen.example",
    ],
)
def test_every_spelling_is_one_address(text: str) -> None:
    assert canonical_email(text) == checked_email(text) == ASCII
    assert shown_email(canonical_email(text)) == MUNICH
    assert {ASCII, MUNICH, unicodedata.normalize("NFD", MUNICH)} <= set(spellings_of(text))


def test_spelling_that_was_stored_before_is_looked_for_first() -> None:
    assert spellings_of("User@MÜNCHEN.example")[0] == MUNICH
    assert spellings_of("ann@example.com") == ["ann@example.com"]


@pytest.mark.parametrize(
    "text",
    ["ann@example.com", "a.b-c+d_e'f@sub.example.uk", "x@localhost", "1@2.example", "a!#$%&*/=?^`{|}~@b.example", f"a@{'b' * 63}.example"],
)
def test_what_a_browser_sends_is_accepted(text: str) -> None:
    assert WHATWG.match(checked_email(text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "one @"),
        ("ann", "one @"),
        ("@example.com", "one @"),
        ("ann@", "one @"),
        ("a@b@example.com", "one @"),
        ("ann bell@example.com", "a space"),
        ("ann@exam ple.com", "a space"),
        ("ann\u00a0@example.com", "a space"),
        ("ann\0@example.com", "invisible"),
        ("an\u202en@example.com", "invisible"),
        ("jörg@example.com", "from a to z"),
        ("аnn@example.com", "from a to z"),
        ('"ann"@example.com', 'do not send "'),
        ("ann(work)@example.com", "do not send ("),
        ("ann,bob@example.com", "do not send ,"),
        ("a..b@example.com", "stands alone"),
        (".ann@example.com", "stands alone"),
        ("ann.@example.com", "stands alone"),
        ("ann@example..com", "two dots"),
        ("ann@.example.com", "two dots"),
        ("ann@example.com.", "two dots"),
        ("ann@" + "b" * 64 + ".example", "longer than 63"),
        ("ann@-example.com", "hyphen"),
        ("ann@example-.com", "hyphen"),
        ("ann@ex_ample.com", "no domain has"),
        ("ann@[127.0.0.1]", "no domain has"),
        ("ann@\u2603.example", "no domain has"),
        ("a@" + ".".join(["b" * 60] * 6), "longer than 320"),
    ],
)
def test_what_a_browser_cannot_send_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(BadRequest, match=re.escape(reason)) as refused:
        checked_email(text)
    assert refused.value.code == "invalid_email"


@pytest.mark.parametrize("text", ["user@xn--\u00fc", "user@xn--a.example", "user@xn--", "@", "", "a@" + "\u00fc" * 300])
def test_what_is_no_address_breaks_nothing(text: str) -> None:
    shown_email(canonical_email(text))
    spellings_of(text)
