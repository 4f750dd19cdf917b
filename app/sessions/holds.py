"""The holds of one write on the keys it is about to change: taken, waited for before the commit, published after it."""

import asyncio
from collections.abc import Iterable, Mapping

import structlog

from app.core.database import COMMIT_SECONDS, STATEMENT_LIMIT_SECONDS, Contended
from app.core.errors import StoreUnavailable
from app.core.metrics import METRICS
from app.core.statements import Running
from app.core.time_budget import ensure_time_budget
from app.sessions import trace
from app.sessions.backend import BackendFlag
from app.sessions.expectations import expect
from app.sessions.notes import notes_of_request
from app.sessions.record import Hold, Record
from app.sessions.redis_store import HOLD_LIFE
from app.sessions.sql_store import Fence
from app.sessions.standstill import read_stopwatch

log = structlog.get_logger()


class WriteHolds:
    """The holds of one write under the flag as it was known when they were taken.

    Used in this order: make (they start at once), `await_holds(db)` as the last thing inside the transaction, `publish`
    after its commit. A hold is never taken back: what is not published lapses.
    """

    def __init__(self, backend: BackendFlag, token_hashes: Iterable[str]) -> None:
        self.backend = backend
        self.fence: Fence = backend.flag.fence
        self._epoch = backend.usable_epoch
        self.fault = "it failed this request already" if notes_of_request().redis_failed else ""
        self._fails_over = False
        self._holds: dict[str, Hold] = {}
        self._taken_at = read_stopwatch()
        trace.step("claims", self.fence.mode, self.fence.epoch, self._epoch, self.fault)
        self._taking = asyncio.create_task(self._take(list(token_hashes)))

    async def ready(self) -> None:
        """Wait until the holds are taken, or known not to be."""
        await asyncio.shield(self._taking)

    async def add(self, token_hashes: Iterable[str]) -> None:
        """Hold keys whose rows are locked by now, those that were held before once more.

        A write that committed between the first hold and the lock has put its own in that place, and would publish after us.
        """
        await self.ready()
        await self._take(list(token_hashes))

    async def await_holds(self, db: Running) -> None:
        """The commit waits here for the holds. Without them, while the flag says Redis, the flag goes down in this transaction.

        Raises `Contended` when the holds are so old that they might lapse before the commit.
        """
        await self.ready()
        if read_stopwatch() - self._taken_at > STATEMENT_LIMIT_SECONDS:
            raise Contended("The transaction took longer than its hold may be trusted.")
        self._fails_over = self.fence.mode == "redis" and (bool(self.fault) or self._epoch is None)
        if self._fails_over:
            await self.backend.flip_down(db, self.fence, self.fault or self.backend.redis_fault)
        trace.step("commits", self._fails_over)

    async def publish(self, records: Mapping[str, Record | None]) -> None:
        """After the commit: a hold on what was changed becomes its record, or nothing. A failover is announced before anything is answered.

        Where nothing was changed the hold lapses: it may lie over that of a writer under way.
        """
        # What the request may wait for the database may be used up by now; what is committed is announced all the same.
        ensure_time_budget(COMMIT_SECONDS)
        # Looked at before the commit, too; a process that stood still in between has committed without a hold, and says so here.
        expect(not self._holds or read_stopwatch() - self._taken_at < HOLD_LIFE.total_seconds(), "hold_outlived")
        if self._fails_over:
            await self.backend.announce_failover(self.fence)
        if self._epoch is None or self.fault or self.backend.redis is None:
            return
        try:
            sessions = self.backend.redis.within(self._epoch)
            for token_hash, record in records.items():
                if record:
                    trace.step("published", token_hash, await sessions.write(token_hash, record, self._holds[token_hash]))
            await sessions.drop({token_hash: self._holds[token_hash] for token_hash, record in records.items() if record is None})
            trace.step("dropped", records)
        except StoreUnavailable as fault:
            METRICS.session_claims.labels("publish_failed").inc()
            trace.step("publish failed")
            await self.backend.fail_over(self.fence, f"publish failed: {fault.detail}")

    async def _take(self, token_hashes: list[str]) -> None:
        if self._epoch is None or self.backend.redis is None or self.fault or not token_hashes:
            return
        trace.step("asks for holds", token_hashes)
        try:
            self._holds |= await self.backend.redis.within(self._epoch).hold(token_hashes)
            trace.step("held", token_hashes, self._holds)
        except StoreUnavailable as fault:
            trace.step("hold failed", token_hashes)
            self.fault = f"hold failed: {fault.detail}"
            METRICS.session_claims.labels("hold_failed").inc()
