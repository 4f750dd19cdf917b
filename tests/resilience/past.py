"""What was true before a fault, and must not come back after it."""

import asyncio

from tests.resilience.site import People
from tests.servers.process import wait_until
from tests.servers.redis import RedisServer

OTHER_PASSWORD = "staple-battery-horse"


class Past:
    """What was true once: a deal selected, a grant, a login, an old password. And what became of it."""

    def __init__(self, people: People) -> None:
        self.people = people

    async def begin(self) -> "Past":
        people = self.people
        self.old, self.new, self.revoked = people.deals
        self.owner = await people.browser(people.owner)
        self.chooser = await people.browser(on=self.old)
        self.stripped = await people.browser(on=self.revoked)
        self.leaver = await people.browser(on=self.old)
        self.thief = await people.bystander(self.leaver)
        self.witness = await people.bystander(self.chooser)
        self.witness_of_strip = await people.bystander(self.stripped)
        for browser in (self.thief, self.witness, self.witness_of_strip):
            assert await browser.status_everywhere() == {200}
        return self

    async def change(self) -> None:
        """A selection, a revoke, a logout, each answered with success."""
        assert await self.chooser.select(self.new) == 200
        members = f"/api/deals/{self.revoked.id}/members/{self.people.viewer.id}"
        assert (await self.owner.call("DELETE", members)).status_code == 204
        assert (await self.leaver.call("POST", "/api/auth/logout")).status_code == 204

    async def is_over_everywhere(self) -> bool:
        shown = await self.witness.current_everywhere() | await self.witness_of_strip.current_everywhere()
        return not shown & {self.old.id, self.revoked.id} and await self.thief.status_everywhere() == {401}

    async def check(self, *, reads: int = 40) -> int:
        """Nothing of the past is served to anybody, on any server; the number of reads that were made."""
        for _ in range(reads // 4):
            chosen, seen, stripped, stolen = await asyncio.gather(
                self.chooser.current(), self.witness.current(), self.witness_of_strip.current(), self.thief.call("GET", "/api/me")
            )
            assert (chosen, seen, stolen.status_code) == (self.new.id, self.new.id, 401)
            assert stripped != self.revoked.id
        return reads


def follow(replica: RedisServer, master: RedisServer) -> None:
    assert replica.say(f"REPLICAOF 127.0.0.1 {master.port}").startswith("+OK")
    wait_until(lambda: info(replica, "master_link_status") == "up", within=20, what="replica in step")


def info(server: RedisServer, field: str) -> str:
    """Empty where it does not say so: a sentinel cuts everybody off from the master it has just made."""
    try:
        lines = server.say("INFO").splitlines()
    except ConnectionResetError:
        return ""
    return next((line.partition(":")[2] for line in lines if line.startswith(f"{field}:")), "")
