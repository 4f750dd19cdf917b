"""E-mail addresses: one spelling that is stored and compared, one that is shown, and what a browser's sign-in field can send.

Stored: composed (NFC), lower case, the domain in ASCII (IDNA, UTS 46), which is what a browser makes of it. Rows from before may have
the domain in Unicode; they are found by every spelling of theirs and stay as they are, so that versions side by side agree on them.
Letters that look alike in different scripts are different letters here: an invitation goes to whom the administrator names.
"""

import re
import unicodedata

import idna

from app.core.errors import BadRequest
from app.core.invisible_characters import strip_invisible

MAX_EMAIL = 320
MAX_LABEL = 63
# What <input type="email"> sends, by the HTML standard (valid e-mail address).
_LOCAL = re.compile(r"[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+")
_LABEL = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")


def canonical_email(text: str) -> str:
    """An address as it is stored and compared. Text that is no address is only lower-cased; it matches nobody."""
    text = strip_invisible(text).strip()
    if len(text) > 4 * MAX_EMAIL:  # before anything is done that takes its time
        return text.lower()
    local, at, domain = unicodedata.normalize("NFC", text).lower().rpartition("@")
    if domain.isascii():
        return local + at + domain
    try:
        return local + at + idna.encode(domain, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        return local + at + domain


def shown_email(email: str) -> str:
    """As people write it: the domain in Unicode."""
    local, at, domain = email.rpartition("@")
    if "xn--" not in domain:
        return email
    try:
        return local + at + idna.decode(domain)
    except (idna.IDNAError, UnicodeError):
        return email


def spellings_of(text: str) -> list[str]:
    """Every spelling under which a person may be stored, the older one first, so that earlier accounts still sign in."""
    canonical = canonical_email(text)
    shown = shown_email(canonical)
    return list(dict.fromkeys((strip_invisible(text).strip().lower(), canonical, shown, unicodedata.normalize("NFD", shown))))


def checked_email(text: str) -> str:
    """`text` as it is stored. Raises `BadRequest`, with the reason, for what nobody could sign in with from a browser."""
    email = canonical_email(text)
    if reason := _find_fault(email):
        raise BadRequest(f"{shown_email(email)!r} is not an e-mail address to sign in with: {reason}", code="invalid_email")
    return email


def _find_fault(email: str) -> str:
    local, at, domain = email.rpartition("@")
    if not (local and at and domain) or "@" in local:
        return "it takes a name, one @ and a domain."
    if len(email) > MAX_EMAIL:
        return f"it is longer than {MAX_EMAIL} characters."
    if any(letter.isspace() for letter in email):
        return "there is a space in it."
    if not email.isprintable():
        return "there is an invisible character in it."
    return _find_fault_of_local(local) or _find_fault_of_domain(domain)


def _find_fault_of_local(local: str) -> str:
    if not local.isascii():
        return "before the @ browsers send letters from a to z, digits and a few signs only."
    if wrong := next((letter for letter in local if not _LOCAL.fullmatch(letter)), ""):
        return f"browsers do not send {wrong} before the @."
    if ".." in local or local[0] == "." or local[-1] == ".":
        return "a dot before the @ stands alone, between other characters."
    return ""


def _find_fault_of_domain(domain: str) -> str:
    for label in domain.split("."):
        if not label:
            return "the domain has two dots in a row, or one at its beginning or end."
        if len(label) > MAX_LABEL:
            return f"a part of the domain is longer than {MAX_LABEL} characters."
        if label[0] == "-" or label[-1] == "-":
            return "a part of the domain begins or ends with a hyphen."
        if not _LABEL.fullmatch(label):
            return "the domain has a character that no domain has."
    return ""
