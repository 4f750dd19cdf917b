"""Redis answers, and has forgotten all or what was written last."""

from collections.abc import Awaitable, Callable

from ..cells import NEW, OLD, Cell, judge_end, judge_read, judge_write
from ..site import Need, Site
from .scenario import Pace, Scenario, everywhere, find_witness, look_on, read_everywhere, signed_in


async def flushed(site: Site, pace: Pace) -> list[Cell]:
    return await _forgotten(site, "flush", site.redis.flush)


async def evicted(site: Site, pace: Pace) -> list[Cell]:
    return await _forgotten(site, "evict", site.redis.evict)


async def _forgotten(site: Site, name: str, forget: Callable[[], Awaitable[None]]) -> list[Cell]:
    writer, leaver = [await signed_in(site, user) for user in ("writer", "leaver")]
    thief = leaver.thief()
    write, logout = await writer.set(NEW), await leaver.logout()
    await forget()
    site.history.disturb(name)
    replays, values = await everywhere(site, thief), await read_everywhere(site, writer)
    return [
        judge_write("the acknowledged value", write, values, afterwards=True),
        judge_end("the logged-out session", logout, replays, afterwards=True),
    ]


async def old_snapshot(site: Site, pace: Pace) -> list[Cell]:
    writer, leaver = [await signed_in(site, name) for name in ("writer", "leaver")]
    thief = leaver.thief()
    witness = await find_witness(site, writer)
    await site.redis.save()
    site.history.disturb("save")
    write, logout = await writer.set(NEW), await leaver.logout()
    newcomer = await signed_in(site, "newcomer")
    await site.redis.kill()
    await site.redis.restart()
    site.history.disturb("restart-from-snapshot")
    seen = await look_on(site, pace, reader=writer, gone=[thief], witness=witness)
    return [
        judge_write("the value written since", write, seen.values, afterwards=True),
        judge_end("the session logged out since", logout, seen.replays, afterwards=True),
        judge_read("a login made since", await read_everywhere(site, newcomer), OLD),
    ]


REDIS = frozenset({Need.REDIS})
REDIS_FORGETS = (
    Scenario(
        name="redis-flushed",
        title="Redis flushed",
        does="A write and a logout are acknowledged; then FLUSHALL.",
        judges="Whether the person is still signed in with the value, and the other one still signed out.",
        matters="Redis is often shared, resized or replaced by an empty one.",
        needs=REDIS,
        play=flushed,
    ),
    Scenario(
        name="redis-evicted",
        title="Keys evicted from Redis",
        does="The same, but Redis evicts every key to make room (maxmemory, allkeys-lru), as where something else fills it.",
        judges="As above.",
        matters="Eviction takes the mark that says a session is over as readily as the session.",
        needs=REDIS,
        play=evicted,
    ),
    Scenario(
        name="old-snapshot",
        title="Redis restored from an old snapshot",
        does="Redis saves; a write, a logout and a login are acknowledged; Redis is killed and starts with what it had saved.",
        judges="The value, the logged-out session's cookie and the new login, until two seconds after Redis is in use again.",
        matters="The default of Redis saves every few minutes: a crash takes it back that far. A replica that is promoted lags, too.",
        needs=REDIS,
        play=old_snapshot,
    ),
)
