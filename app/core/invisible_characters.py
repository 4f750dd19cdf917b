"""What no eye can see in a text: taken out before two texts are compared or one is kept."""

import re

# Overrides and isolates of writing direction make a name read as another one, so the rules refuse them.
DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Zero-width spaces and joiners of words, soft hyphens, byte order marks, marks of writing direction, invisible operators.
_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2060-\u2064\u206a-\u206f\ufeff]")
# Joiners belong to the spelling of Persian or Hindi, and to emoji: only beside Latin, Greek and Cyrillic are they strays.
_STRAY_JOINERS = re.compile("(?:(?<=[\u0000-\u058f])|^)[\u200c\u200d]+|[\u200c\u200d]+$")


def strip_invisible(text: str) -> str:
    """`text` without the characters that show nothing and mean nothing."""
    if text.isascii():
        return text
    return _STRAY_JOINERS.sub("", _INVISIBLE.sub("", text))
