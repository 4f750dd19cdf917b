"""Errors in the text of one cell."""


class Malformed(ValueError):
    """The text cannot be what its column holds; the message is the rest of a sentence about it."""


class Undecided(Malformed):
    """It can be read in two ways, and none has been chosen yet."""
