"""How a deal without a reference of its own is called in a file, so that it is known again when that file is imported."""

import re

from app.imports.malformed import Malformed
from app.imports.parsing import clean_text

_OURS = re.compile(r"holdfast:([1-9][0-9]{0,17})")


def reference_of(deal_id: int, external_ref: str | None) -> str:
    """Its external reference, where an import would read it exactly as it is; else one that names the deal itself."""
    try:
        if external_ref and clean_text(external_ref) == external_ref and not _OURS.fullmatch(external_ref):
            return external_ref
    except Malformed:
        pass
    return f"holdfast:{deal_id}"


def id_in(reference: str) -> int | None:
    """The deal that a reference of ours names."""
    match = _OURS.fullmatch(reference)
    return int(match[1]) if match else None
