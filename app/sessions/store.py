"""What both stores promise, once. The contract suite in tests/contract runs every implementation against it."""

from typing import Protocol, TypeVar

from app.sessions.record import Record

Proof = TypeVar("Proof", contravariant=True)


class SessionStore(Protocol[Proof]):
    """Records by token hash. A store is bound to one transaction (SQL) or one epoch (Redis) and is cheap to make.

    A missing, expired, damaged or tampered record is *not found*: None, never an error.
    Faults of the system are `Unavailable`, and never look like a missing record.
    A write or delete needs a proof that nobody came between: SQL's is the version it was made from, Redis's is the
    token of one's own claim. False means somebody did; nothing was changed then that another could rely on.
    """

    async def find(self, token_hash: str) -> Record | None: ...

    async def write(self, token_hash: str, record: Record, proof: Proof) -> bool: ...

    async def delete(self, token_hash: str, proof: Proof) -> bool: ...
