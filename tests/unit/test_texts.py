"""What no eye can see is no part of a name, an address or a reference."""

import pytest
from pydantic import TypeAdapter, ValidationError

from app.auth.email_address import canonical_email
from app.auth.people import clean_name
from app.core.invisible_characters import strip_invisible
from app.deals.fields import Name, Reference

HIDDEN = "\ufeffZo\u00adë \u200bLabs\u200e\u200f\u2060\u200d"


def test_what_cannot_be_seen_is_taken_out_wherever_names_are_kept() -> None:
    assert strip_invisible(HIDDEN) == clean_name(HIDDEN) == "Zoë Labs"
    assert TypeAdapter(Name).validate_python(HIDDEN) == TypeAdapter(Reference).validate_python(HIDDEN) == "Zoë Labs"
    assert canonical_email("\u200bLead@\ufeffgoogle.example\u200e ") == "lead@google.example"
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python("\u200b\u2060")


def test_joiners_that_are_part_of_a_spelling_stay() -> None:
    for text in ("می\u200cخواهم", "👩\u200d🔬 Labs", "क\u094d\u200dष"):
        assert strip_invisible(text) == text
    assert strip_invisible("Go\u200dogle\u200c") == "Google"
