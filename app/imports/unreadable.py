"""The error for a file that cannot be read at all."""

from app.core.errors import BadRequest


class UnreadableFile(BadRequest):
    code, title = "unreadable_file", "The file cannot be read"
