"""Tokens: 256 random bits in a cookie, their SHA-256 at rest."""

import hashlib
import secrets


def new_token() -> str:
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """64 hex digits: what the database and Redis know of a token. The token cannot be found from it."""
    return hashlib.sha256(token.encode()).hexdigest()
