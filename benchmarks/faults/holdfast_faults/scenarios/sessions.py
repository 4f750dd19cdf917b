"""What needs no fault at all: logins, logouts, and two requests at once."""

import asyncio

from ..cells import NEW, OLD, Cell, Verdict, judge_end, judge_read, judge_trials
from ..site import Site
from ..visitor import Answer
from .scenario import Pace, Scenario, everywhere, read_everywhere, signed_in


async def logout_replay(site: Site, pace: Pace) -> list[Cell]:
    leaver = await signed_in(site, "leaver")
    thief = leaver.thief()
    logout = await leaver.logout()
    replays = await everywhere(site, thief)
    late_write = await thief.thief().set(NEW)
    return [
        judge_end("the cookie from before", logout, replays, afterwards=True),
        judge_end("a write with it", logout, [late_write, *await everywhere(site, thief)], afterwards=True),
    ]


async def new_login(site: Site, pace: Pace) -> list[Cell]:
    """What somebody planted in a browser, or kept from the last user of it, must not become the next one's session."""
    visitor = await signed_in(site, "reader")
    before = visitor.thief()
    login = await visitor.login("writer")
    shown = await everywhere(site, before)
    heading = "the cookie from before the login"
    if not login.served:
        return [Cell(heading, f"login: {login.ending}", Verdict.DOWN, [login])]
    if taken := [answer for answer in shown if answer.served and answer.value == "writer"]:
        return [Cell(heading, "signed in as the NEXT USER", Verdict.UNSAFE, taken)]
    alive = any(answer.served for answer in shown)
    return [Cell(heading, "still its own user" if alive else "dead", Verdict.OK, shown)]


async def revoke_all(site: Site, pace: Pace) -> list[Cell]:
    one, two, three = [await signed_in(site, "writer") for _ in range(3)]
    neighbour = await signed_in(site, "reader")
    thieves = [visitor.thief() for visitor in (one, two, three)]
    revoked = await two.revoke_all()
    replays = [answer for thief in thieves for answer in await everywhere(site, thief)]
    cells = [
        judge_end("every session of the person", revoked, replays, afterwards=True),
        judge_read("another person's session", await read_everywhere(site, neighbour), OLD),
    ]
    if revoked.served:
        again = await signed_in(site, "writer")
        cells.append(judge_read("a login after it", await read_everywhere(site, again), OLD))
    return cells


async def two_writers(site: Site, pace: Pace) -> list[Cell]:
    visitor = await signed_in(site, "writer")
    await visitor.set(OLD, key="b")
    lost = refused = 0
    answers: list[Answer] = []
    servers = len(site.servers)
    for trial in range(pace.trials):
        value = (NEW, OLD)[trial % 2]
        writes = await asyncio.gather(
            visitor.tab().set(value, server=0), visitor.tab().set(value, key="b", server=(servers - 1) * (trial // 2 % 2))
        )
        answers += writes
        if not all(write.served for write in writes):
            refused += 1
            continue
        reads = [await visitor.get(server=0), await visitor.get(key="b", server=0)]
        answers += reads
        lost += any(read.value != value for read in reads)
    return [judge_trials("both keys kept", "LOST", lost, refused, pace.trials, Verdict.LOST, answers)]


SESSIONS = (
    Scenario(
        name="logout-replay",
        title="A cookie used again after its logout",
        does="Somebody signs out; the cookie from before is sent to every server, and writes with it are tried.",
        judges="It is refused everywhere, and stays refused.",
        matters="Who signs out on a shared machine, or after a theft, wants exactly this.",
        needs=frozenset(),
        play=logout_replay,
    ),
    Scenario(
        name="login-fixation",
        title="A cookie from before a login",
        does="A browser that holds one person's cookie signs in as another; the old cookie is sent again.",
        judges="It is not the new person's session.",
        matters="Session fixation: who can plant a cookie is otherwise signed in as the next user.",
        needs=frozenset(),
        play=new_login,
    ),
    Scenario(
        name="revoke-all",
        title="Signed out everywhere",
        does="A person with three browsers signs out everywhere from one of them.",
        judges="All three cookies are dead on every server, another person's is not, and signing in again works.",
        matters="A lost device, a changed password, somebody who leaves.",
        needs=frozenset(),
        play=revoke_all,
    ),
    Scenario(
        name="two-writers",
        title="Two writers, two keys of one session",
        does="Two tabs set two keys of one session at the same moment, at one server or at two.",
        judges="Both keys are there once both are acknowledged.",
        matters="Pages send requests side by side. Who saves whole sessions saves over the other.",
        needs=frozenset(),
        play=two_writers,
        alone=True,
    ),
)
