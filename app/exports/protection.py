"""Cells that a spreadsheet takes for text, whatever they begin with; and the same backwards."""

import re

# A spreadsheet would run what begins with one of these. What looks protected already is protected once more, so that
# taking one apostrophe off always gives back exactly what there was.
_RUNS = re.compile(r"'*[=+\-@\t\r]")
_PROTECTED = re.compile(r"'+[=+\-@\t\r]")


def protect(text: str) -> str:
    """For a text file, whose reader decides by the first character."""
    return f"'{text}" if _RUNS.match(text) else text


def protect_in_workbook(text: str) -> str:
    """For a cell that says itself that it is text: only what `unprotect` would change must be kept from it."""
    return f"'{text}" if _PROTECTED.match(text) else text


def unprotect(text: str) -> str:
    return text[1:] if _PROTECTED.match(text) else text
