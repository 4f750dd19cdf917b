"""Two servers, of which one knows what the other does not, stands still, or dies."""

import asyncio

from ..cells import NEW, OLD, Cell, Verdict, judge_end, judge_login, judge_trials, judge_write
from ..site import Need, Site
from ..visitor import Answer, Visitor
from .scenario import Pace, Scenario, everywhere, look_on, read_everywhere, signed_in


async def read_your_writes(site: Site, pace: Pace) -> list[Cell]:
    visitor = await signed_in(site, "writer")
    stale = refused = 0
    answers: list[Answer] = []
    for trial in range(pace.trials):
        value = (NEW, OLD)[trial % 2]
        write = await visitor.set(value, server=trial % 2)
        read = await visitor.get(server=(trial + 1) % 2)
        answers += [write, read]
        stale += write.served and read.served and read.value != value
        refused += not (write.served and read.served)
    cell = judge_trials("write at one, read at the other", "STALE", stale, refused, pace.trials, Verdict.UNSAFE, answers)
    leaver = await signed_in(site, "leaver")
    thief = leaver.thief()
    logout = await leaver.logout(server=0)
    replay = await thief.whoami(server=1)
    return [cell, judge_end("logout at one, replay at the other", logout, [replay])]


async def server_killed(site: Site, pace: Pace) -> list[Cell]:
    writer, leaver, newcomer = await signed_in(site, "writer"), await signed_in(site, "leaver"), site.visitor()
    thief = leaver.thief()
    login = await newcomer.login("newcomer", server=0)
    write, logout = await writer.set(NEW, server=0), await leaver.logout(server=0)
    site.history.disturb("kill-server", "all")
    for server in site.servers:
        await server.kill()
    await asyncio.gather(*(server.start() for server in site.servers))
    site.history.disturb("start-server", "all")
    return [
        judge_write("the value", write, await read_everywhere(site, writer), afterwards=True),
        judge_login("the new login", login, await everywhere(site, newcomer)),
        judge_end("the logged-out session", logout, await everywhere(site, thief), afterwards=True),
    ]


async def server_paused(site: Site, pace: Pace) -> list[Cell]:
    """Writes are under way at the second server when it is stopped; what it wakes up with is from before."""
    writer, leaver = [await signed_in(site, user) for user in ("writer", "leaver")]
    tabs, thief = [leaver.thief() for _ in range(4)], leaver.thief()
    busy = [asyncio.ensure_future(_keep_writing(site, tab, seconds=pace.pause_seconds / 4)) for tab in tabs]
    await asyncio.sleep(pace.pause_seconds / 8)
    site.history.disturb("pause-server", 1)
    await site.servers[1].pause()
    write, logout = await writer.set(NEW, server=0), await leaver.logout(server=0)
    await asyncio.sleep(pace.pause_seconds)
    await site.servers[1].resume()
    site.history.disturb("resume-server", 1)
    first = [await writer.tab().get(server=1)]
    await asyncio.gather(*busy)
    seen = await look_on(site, pace, reader=writer, gone=[thief], witness=None)
    return [
        judge_write("a write meanwhile", write, []),
        judge_end("a logout meanwhile", logout, []),
        judge_write("the value", write, [*first, *seen.values], afterwards=True),
        judge_end("the session logged out meanwhile", logout, seen.replays, afterwards=True),
    ]


async def _keep_writing(site: Site, tab: Visitor, *, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        await tab.thief().set(NEW, key="b", server=1)


TWO = frozenset({Need.TWO_SERVERS})
SERVERS = (
    Scenario(
        name="two-servers",
        title="Two servers, no sticky routing",
        does="Writes go to one server, the next read to the other, by turns; then a logout at one and its cookie at the other.",
        judges="Every read shows the last acknowledged write; the cookie is dead.",
        matters="What a process keeps in its memory is known to that process alone.",
        needs=TWO,
        play=read_your_writes,
    ),
    Scenario(
        name="servers-killed",
        title="Every server killed and started again",
        does="A login, a write and a logout are acknowledged; at once all servers are killed (SIGKILL) and started again.",
        judges="The login, the value, and the logged-out session's cookie.",
        matters="An acknowledgement that came before anything was stored is an empty one.",
        needs=frozenset({Need.PROCESSES}),
        play=server_killed,
    ),
    Scenario(
        name="server-paused",
        title="A server paused while it writes",
        does="The second server is stopped in the middle of writes of a session. The first one takes a write and ends that session. "
        "Then the second goes on.",
        judges="Whether the first one serves; the first answer of the woken server and all later ones; the ended session's cookie.",
        matters="Virtual machines are moved, laptops sleep, collectors stop the world. A process that wakes up does not know.",
        needs=TWO | {Need.PROCESSES},
        play=server_paused,
        alone=True,
    ),
)
