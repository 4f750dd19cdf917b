"""Redis does not answer, or not all that is asked of it, and comes back with the data that it had."""

import asyncio
from collections.abc import Awaitable, Callable

from ..cells import NEW, OLD, Cell, Verdict, judge_end, judge_login, judge_read, judge_return, judge_trials, judge_write
from ..site import Need, RedisFaults, Site
from ..visitor import HANG_SECONDS, Answer
from .scenario import Pace, Scenario, everywhere, find_witness, look_on, read_everywhere, signed_in

Fault = Callable[[RedisFaults], Awaitable[None]]


def outage(name: str, fault: Fault, heal: Fault) -> Callable[[Site, Pace], Awaitable[list[Cell]]]:
    async def play(site: Site, pace: Pace) -> list[Cell]:
        reader, writer, leaver = [await signed_in(site, user) for user in ("reader", "writer", "leaver")]
        thief, newcomer = leaver.thief(), site.visitor()
        witness = await find_witness(site, reader)
        await site.redis.save()
        site.history.disturb(f"{name}-begins")
        await fault(site.redis)
        reads = await read_everywhere(site, reader)
        write = await writer.set(NEW)
        read_back = await read_everywhere(site, writer)
        login = await newcomer.login("newcomer")
        pages = await everywhere(site, newcomer)
        logout = await leaver.logout()
        replays = await everywhere(site, thief)
        await heal(site.redis)
        site.history.disturb(f"{name}-ends")
        seen = await look_on(site, pace, reader=writer, gone=[thief], witness=witness)
        return [
            judge_read("read", reads, OLD),
            judge_write("write", write, read_back),
            judge_login("login", login, pages),
            judge_end("logout", logout, replays),
            judge_write("the value afterwards", write, seen.values, afterwards=True),
            judge_end("the logged-out session afterwards", logout, seen.replays, afterwards=True),
            judge_return(seen.back_after, uses_redis=witness is not None),
        ]

    return play


async def revoke_while_away(site: Site, pace: Pace) -> list[Cell]:
    one, other = [await signed_in(site, "writer") for _ in range(2)]
    keeper, somebody = await signed_in(site, "reader"), await signed_in(site, "newcomer")
    if not (offered := await somebody.revoke_all()).served:
        return [judge_end("revoke-all, Redis there", offered, [])]
    witness = await find_witness(site, keeper)
    await site.redis.save()
    site.history.disturb("kill-redis")
    await site.redis.kill()
    thieves = [one.thief(), other.thief()]
    revoked = await one.revoke_all()
    during = [answer for thief in thieves for answer in await everywhere(site, thief)]
    await site.redis.restart()
    site.history.disturb("restart-redis")
    seen = await look_on(site, pace, reader=keeper, gone=thieves, witness=witness)
    return [
        judge_end("revoke-all, Redis away", revoked, during),
        judge_end("the revoked sessions afterwards", revoked, seen.replays, afterwards=True),
    ]


async def one_cut_off(site: Site, pace: Pace) -> list[Cell]:
    reader, writer, leaver = [await signed_in(site, user) for user in ("reader", "writer", "leaver")]
    thief = leaver.thief()
    witness = await find_witness(site, reader)
    site.history.disturb("cut-off", 1)
    await site.servers[1].cut_off()
    near = await writer.set(NEW, server=0)
    far_reads = [await writer.tab().get(server=1) for _ in range(3)]
    logout = await leaver.logout(server=0)
    far_replays = [await thief.thief().whoami(server=1) for _ in range(3)]
    far = await reader.set(NEW, server=1)
    near_reads = [await reader.tab().get(server=0) for _ in range(3)]
    await site.servers[1].reconnect()
    site.history.disturb("reconnect", 1)
    seen = await look_on(site, pace, reader=writer, gone=[thief], witness=witness)
    return [
        judge_write("write at one, read at the cut-off one", near, far_reads),
        judge_end("logout at one, replay at the cut-off one", logout, far_replays),
        judge_write("write at the cut-off one, read at the other", far, near_reads),
        judge_write("the value afterwards", near, seen.values, afterwards=True),
        judge_end("the logged-out session afterwards", logout, seen.replays, afterwards=True),
    ]


async def logout_in_flight(site: Site, pace: Pace) -> list[Cell]:
    """The second server is slow: it has read the session, and has yet to write it, when the first one ends it."""
    refused = revived = 0
    answers: list[Answer] = []
    trials = max(3, pace.trials // 12)
    for trial in range(trials):
        tab = await signed_in(site, "leaver")
        leaver, thief = tab.tab(), tab.thief()
        site.history.disturb("answer-late", pace.late_seconds)
        await site.servers[1].answer_late(pace.late_seconds)
        write = asyncio.ensure_future(tab.set(NEW, key="b", server=1))
        # At another moment of it each time, from at once to the third answer of Redis.
        await asyncio.sleep(pace.late_seconds * 3 * (trial + 0.5) / trials)
        logout = await leaver.logout(server=0)
        answers += [logout, await write]
        await site.servers[1].answer_late(0)
        site.history.disturb("answer-in-time")
        replays = await everywhere(site, thief)
        answers += replays
        refused += not logout.served
        revived += logout.served and any(replay.served for replay in replays)
    return [judge_trials("a write under way at the other server", "REVIVED", revived, refused, trials, Verdict.UNSAFE, answers)]


REDIS = frozenset({Need.REDIS})
SERVERS_AND_REDIS = REDIS | {Need.TWO_SERVERS}
REDIS_AWAY = (
    Scenario(
        name="redis-killed",
        title="Redis killed, back with its data",
        does="Redis is killed. Somebody reads, writes, signs in and signs out. Redis starts again with the data of the moment before.",
        judges="Each request while Redis is away; then whether what was acknowledged holds once Redis is back.",
        matters="Restarts, failovers and full disks happen. What was written elsewhere meanwhile must win over what Redis still remembers.",
        needs=REDIS,
        play=outage("kill-redis", lambda redis: redis.kill(), lambda redis: redis.restart()),
    ),
    Scenario(
        name="redis-hung",
        title="Redis hung, then awake",
        does="The same, but Redis is stopped (SIGSTOP): connections are accepted and nothing is answered.",
        judges=f"As above; an answer after more than {HANG_SECONDS} s counts as none.",
        matters="A slow disk or a long script looks like this. Without timeouts every request waits with it.",
        needs=REDIS,
        play=outage("stop-redis", lambda redis: redis.hang(), lambda redis: redis.wake()),
    ),
    Scenario(
        name="redis-full",
        title="Redis full, then not",
        does="The same, but Redis answers reads and refuses writes (maxmemory, noeviction).",
        judges="As above.",
        matters="What cannot be replaced in Redis must not be served from it.",
        needs=REDIS,
        play=outage("fill-redis", lambda redis: redis.fill(), lambda redis: redis.make_room()),
    ),
    Scenario(
        name="revoke-while-away",
        title="Everywhere signed out while Redis is away",
        does="Redis is killed, a person with two browsers signs out everywhere, and Redis comes back with its data.",
        judges="Both browsers' cookies, on every server, during and after.",
        matters="It is what somebody does whose laptop was stolen, and it may be done during an outage.",
        needs=REDIS,
        play=revoke_while_away,
    ),
    Scenario(
        name="one-cut-off",
        title="One server cut off from Redis",
        does="The second server's connections to Redis are refused; the first one's work. Writes, a logout, reads at the other server.",
        judges="Whether the cut-off server shows what was acknowledged elsewhere, or says that it cannot; and the other way round.",
        matters="Networks fail for one machine at a time. A fallback that each server chooses alone shows old values.",
        needs=SERVERS_AND_REDIS,
        play=one_cut_off,
    ),
    Scenario(
        name="logout-in-flight",
        title="Logout while a slow server writes",
        does="Redis' answers reach the second server late. It works on a write when the first one acknowledges the logout.",
        judges="Whether the cookie is dead once both have answered.",
        matters="A whole session that is saved at the end of a request brings back what was ended meanwhile.",
        needs=SERVERS_AND_REDIS,
        play=logout_in_flight,
        alone=True,
    ),
)
