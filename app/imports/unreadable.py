"""The file as a whole is of no use."""

from app.core.errors import BadRequest


class UnreadableFile(BadRequest):
    code, title = "unreadable_file", "The file cannot be read"
