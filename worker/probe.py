"""The probe: watches Redis beside arq, flips the backend flag down when Redis stops serving, and up when the whole fleet agrees.

It survives any state of Redis and SQL, and decides only from SQL and its own probes, so a restart loses nothing.
"""

import asyncio
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select

from app.core.errors import DatabaseUnavailable, StoreUnavailable
from app.models import Event
from app.resources import Resources
from app.sessions.backend import Flag
from app.sessions.fleet import RedisView

log = structlog.get_logger()

# One bad probe may be this process's own fault; a different instance of Redis is not.
BAD_PROBES_TO_FAIL_OVER = 3
GOOD_PROBES_TO_FAIL_BACK = 5
# Each return within the last minutes makes the next one wait longer: 10, 30, 60 s with PROBE_RISE_SECONDS at 10.
PAUSES = (1, 3, 6)
REMEMBERED = timedelta(minutes=5)
ME = "probe"


async def watch(resources: Resources) -> None:
    """Run until cancelled. No failure of Redis or SQL ends it."""
    if resources.redis is None:
        return
    probe, outage_logged = Probe(resources), False
    while True:
        try:
            await probe.run_once()
            outage_logged = False
        except StoreUnavailable:
            pass  # Redis failed just as it was to be used again; the next probe reports it
        except DatabaseUnavailable as outage:
            if not outage_logged:  # once per outage, not at every probe
                log.warning("The probe cannot reach the database; it keeps trying.", fault=outage.detail)
            outage_logged = True
        except Exception:  # the last thing in the worker that may stop
            log.exception("Probe iteration failed; trying again.")
        await asyncio.sleep(resources.settings.probe_interval.total_seconds())


class Probe:
    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self._bad = 0
        self._good = 0
        self._objection = ""

    async def run_once(self) -> None:
        """Probe Redis, read the flag, and flip it if the two call for it."""
        backend = self.resources.backend
        view = await backend.probe_redis(self.resources.settings.redis_timeout)
        self._good, self._bad = (self._good + 1, 0) if view.instance else (0, self._bad + 1)
        flag = await backend.refresh()
        if flag.mode == "redis":
            if reason := self._reason_to_flip(view, flag):
                await backend.fail_over(flag.fence, f"{ME}: {reason}")
        elif view.instance and self._good >= GOOD_PROBES_TO_FAIL_BACK:
            steady_for = await self._steady_for(self.resources.clock.now())
            objection = await backend.fleet.find_objection(view.instance, steady_for=steady_for)
            if objection is None and await backend.fleet.has_been_still_for(steady_for):
                await backend.begin_epoch(view.instance, f"{ME}: Redis is healthy again")
            self._log_objection(objection or "")

    def _reason_to_flip(self, view: RedisView, flag: Flag) -> str:
        if view.instance and view.instance != flag.instance:
            return "Redis restarted, failed over or came back with another history"
        return view.fault if self._bad >= BAD_PROBES_TO_FAIL_OVER else ""

    async def _steady_for(self, now: datetime) -> timedelta:
        """How long everything must have been healthy: longer after each failback that did not last."""
        recent = select(Event.payload).where(Event.kind == "backend.flipped", Event.organisation_id.is_(None), Event.at > now - REMEMBERED)
        async with self.resources.database.read() as db:
            flips = (await db.scalars(recent.order_by(Event.id.desc()).limit(20))).all()
        returns = sum(flip.get("mode") == "redis" and flip.get("reason", "").startswith(ME) for flip in flips)
        return self.resources.settings.probe_rise * PAUSES[min(returns, len(PAUSES) - 1)]

    def _log_objection(self, objection: str) -> None:
        if objection != self._objection:
            self._objection = objection
            if objection:
                log.info("Redis serves, but not every process agrees yet; sessions stay on SQL.", objection=objection)
