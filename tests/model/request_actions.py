"""What the steps of one request are in the model: of a read, of one attempt of a write, of one attempt of a change of many."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tests.model.session_protocol import Request, State
from tests.model.told import EVER, PROTOCOL, Action, Next, Told

if TYPE_CHECKING:
    from tests.model.conformance import Course


class Strand:
    """The steps of one request as this login sees them."""

    def __init__(self, course: "Course", steps: Sequence[Told], i: int) -> None:
        self.course = course
        self.steps = steps
        self.i = i
        self.began = steps[0].at
        self.name = steps[0].process, steps[0].request
        self.server = course.flags.server(steps[0].process)

    def is_mine(self, token: str) -> bool:
        return self.course.traces.logins.get(token) == self.course.login

    def act(self, begin: float, end: float, what: str, then: Next) -> None:
        first = self.steps[0]
        self.course.actions.append(Action(begin, end, f"{first.what} {first.request} of {first.process}: {what}", then))

    def step(self, *names: str, silent: Sequence[str] = ()) -> Next:
        """A step of the model for this request whose name has one of `names`, perhaps after silent ones."""

        def then(state: State) -> Iterator[State]:
            for ready in self._silently(state, silent):
                for what, after in PROTOCOL.steps_of(ready, self.i):
                    if any(name in what for name in names):
                        yield after

        return then

    def _silently(self, state: State, silent: Sequence[str]) -> Iterator[State]:
        yield state
        if silent:
            for what, after in PROTOCOL.steps_of(state, self.i):
                if any(name in what for name in silent):
                    yield from self._silently(after, silent)

    def replace(self, state: State, **changes: Any) -> State:
        changed = state.requests[self.i]._replace(**changes)
        return state._replace(requests=(*state.requests[: self.i], changed, *state.requests[self.i + 1 :]))

    def begin(self, state: State, request: Request) -> State:
        """In its slot; what another one left under that number ran out long ago."""
        keys = tuple(pair for pair in state.keys if pair[1][0] == "record" or pair[1][1] != self.i)
        return self.replace(state._replace(keys=keys), **request._asdict())

    def forget(self, state: State, token: int) -> Iterator[State]:
        """The state as it is, and without what may be gone by itself under the key: a record or a lease that ran out, or was lost."""
        yield state
        request = state.requests[self.i]
        assert request.fence
        key = request.fence.epoch, token
        for of, entry in state.keys:
            is_gone = entry[0] != "hold" or state.evictions or not _is_held(state, entry[1])
            if of == key and is_gone:
                yield state._replace(keys=tuple(pair for pair in state.keys if pair[0] != key))


def _is_held(state: State, i: int) -> bool:
    """By somebody who goes on: of one who gives up (`knows` nothing of its end) the hold runs out in ten seconds."""
    return state.requests[i].knows and state.requests[i].step in ("work", "locked", "publish")


class Reading(Strand):
    """manager.read"""

    def add(self) -> None:
        token_hash, cookie, epoch = self.steps[0].about
        token = self.course.traces.tokens[token_hash]

        def begin(state: State) -> Iterator[State]:
            for _, after in PROTOCOL.steps_of(self.begin(state, Request("read", self.server)), self.i):
                fence = after.requests[self.i].fence
                if epoch is None and fence:
                    fence = fence._replace(mode="sql")
                elif fence is None or fence[:2] != ("redis", epoch):
                    continue
                yield self.replace(after, token=token, cookie=cookie, floor=0, fence=fence)

        self.act(self.began, self.began, f"begins under {epoch}", begin)
        before = self.began + 1
        leased = refilled = False
        for told in self.steps[1:]:
            if told.what == "looked":
                self._look(before, told, token)
                looked = told
            elif told.what == "served":
                self.act(self.began + 1, looked.at, f"is served v{told.about[0]} by Redis", self._told(self._served(told.about[0])))
            elif told.what == "leased" and told.about[0]:
                leased = True
                self.act(before, told.at, "takes a lease", self._told(self._leases(token)))
            elif told.what == "asked SQL":
                self._ask(before, told)
            elif told.what == "refilled":
                refilled = True
                names = ("refills",) if told.about[0] else ("does not refill",)
                self.act(before, told.at, f"refills: {told.about[0]}", self.step(*names))
            else:
                continue
            before = told.at + 1
        if leased and not refilled:
            self.act(before, EVER, "refills after all", self.step("refills"))

    def _look(self, before: float, told: Told, token: int) -> None:
        is_current, entry = told.about
        if not is_current:
            return

        def look(state: State) -> Iterator[State]:
            for each in self._tellings(state):
                for seen in self.forget(each, token):
                    fence = seen.requests[self.i].fence
                    found = next((entry for of, entry in seen.keys if fence and of == (fence.epoch, token)), None)
                    if entry and entry[0] == "lease" and found is None:
                        yield seen  # of a reader that was not told that it has it
                    elif (entry and entry[0]) == (found and found[0]) and (not entry or entry[0] != "record" or found == tuple(entry)):
                        yield seen

        # An entry that is served is seen again by the step that serves it.
        if not any(each.what == "served" for each in self.steps):
            self.act(before, told.at, f"finds {entry}", look)

    def _served(self, version: int) -> Next:
        return self.step(f"is served v{version} by")

    def _leases(self, token: int) -> Next:
        take = self.step("takes a lease")

        def then(state: State) -> Iterator[State]:
            for each in self.forget(state, token):
                yield from take(each)

        return then

    def _told(self, then: Next) -> Next:
        def after_telling(state: State) -> Iterator[State]:
            for each in self._tellings(state):
                yield from then(each)

        return after_telling

    def _tellings(self, state: State) -> Iterator[State]:
        """The number in Redis as it is, and as a server of this epoch may have put it there: over a lower one, or a lost one."""
        yield state
        fence = state.requests[self.i].fence
        if fence is None or fence[:2] not in [known[:2] for known in state.known]:
            return
        if state.told < fence.epoch or (state.told > fence.epoch and state.evictions):
            yield state._replace(told=fence.epoch)

    def _ask(self, before: float, told: Told) -> None:
        version = told.about[0]
        name = "gone" if version is None else f"reads v{version} in SQL"
        self.act(before, told.at, f"asks SQL: {version}", self.step(name, silent=("turns to SQL",)))


class Claiming(Strand):
    """What writes and changes of many have in common."""

    token: int

    def add_claim(self, told: Told, base: int, kind: str) -> None:
        mode, epoch, usable, fault = told.about
        token, commits = self.token, any(each.what == "commits" for each in self.steps)

        def claim(state: State) -> Iterator[State]:
            request = Request(kind, self.server, "loaded", base=base, token=token, by_lock=kind != "write", knows=commits)
            for _, after in PROTOCOL.steps_of(self.begin(state, request), self.i):
                fence = after.requests[self.i].fence
                if fence and fence[:2] == (mode, epoch):
                    yield after

        self.act(self.began, told.at, f"claims under {mode} {epoch}", claim)
        if mode == "sql":
            self.act(told.at + 1, told.at + 1, "needs no hold", self.step("needs no hold"))
        elif usable is None or fault:
            self.act(told.at + 1, told.at + 1, "takes no hold", self.step("LOST THE CALL", "cannot take a hold"))

    def add_holds(self) -> None:
        asked: Told | None = None
        for told in self.steps:
            if told.what == "asks for holds" and any(self.is_mine(token) for token in told.about[0]):
                asked = told
            elif told.what == "held" and asked:
                self.act(asked.at, told.at, "takes a hold", self.step("takes a hold"))
                asked = None
            elif told.what == "hold failed" and asked:
                self.act(asked.at, told.at, "gets no hold", self.step("gets no hold", "cannot take a hold"))
                asked = None
        if asked:
            self.act(asked.at, EVER, "takes a hold perhaps", self.step("takes a hold"))

    def add_end(self, *, published: Sequence[Told]) -> None:
        """From the commit on."""
        commits = next((told for told in self.steps if told.what == "commits"), None)
        if commits is None:
            self.add_giving_up()
            return
        committed = next((told for told in self.steps if told.what == "committed"), None)
        end = committed.at if committed else EVER

        def commit(state: State) -> Iterator[State]:
            for what, after in PROTOCOL.steps_of(state, self.i):
                # Whether this flip was the first is for the flag to say.
                if "commits v" in what and ("flips the flag down" in what) == commits.about[0]:
                    yield after

        self.act(commits.at, end, f"commits{', flips' * commits.about[0]}", commit)
        if committed is None:
            self.add_giving_up()
            self.act(commits.at, EVER, "publishes perhaps", self._publish("publishes", "lost its hold"))
            return
        before = committed.at + 1
        failed = next((told for told in self.steps if told.what == "publish failed"), None)
        answered = next((told for told in self.steps if told.what == "answered"), None)
        for told in published:
            names = ("publishes", "lost its hold") if told.what == "dropped" else ("publishes",) if told.about[1] else ("lost its hold",)
            self.act(before, told.at, f"{told.what} {told.about[-1] if told.what == 'published' else ''}", self._publish(*names))
            before = told.at + 1
        if failed and not published:
            self.act(before, failed.at, "cannot publish", self.step("gets no answer as it publishes"))
            fallen = next((told for told in self.steps if told.what == "failed over"), None)
            self.act(failed.at, fallen.at if fallen else EVER, "falls", self.step("flips the flag down"))
            before = failed.at + 1
        if not (published or failed or answered):
            self.act(before, EVER, "publishes perhaps", self._publish("publishes", "lost its hold"))
        if answered:
            untold = ("cannot learn of the fall",) if any(told.what == "could not announce" for told in self.steps) else ()
            silent = ("knows of the fall", "has nothing to publish", *untold)
            self.act(before, answered.at, "is answered", self.step("is answered", silent=silent))

    def _publish(self, *names: str) -> Next:
        publish = self.step(*names)

        def then(state: State) -> Iterator[State]:
            for each in self.forget(state, state.requests[self.i].token):
                yield from publish(each)

        return then

    def add_giving_up(self) -> None:
        """By the moment it says that it starts over; where it says nothing more, perhaps, and then at any time."""
        over = next((told for told in self.steps if told.what == "starts over"), None)
        if not any(told.what in ("written", "locked", "changed") for told in self.steps):
            return  # it has nothing that stands in anybody's way
        before = self.steps[-1].at if over is None else self.steps[self.steps.index(over) - 1].at

        def give_up(state: State) -> Iterator[State]:
            freed = -1 if state.row_lock == self.i else state.row_lock
            if state.requests[self.i].step in ("loaded", "work", "locked"):
                yield self.replace(state._replace(row_lock=freed), step="crashed", past_fence=False)

        self.act(before, over.at if over else EVER, "gives up", give_up)


class Writing(Claiming):
    """One attempt of manager.write."""

    def add(self) -> None:
        token_hash, base, _ = self.steps[0].about
        self.course.kinds[self.name] = "write"
        self.token = self.course.traces.tokens[token_hash]
        claims = next((told for told in self.steps if told.what == "claims"), None)
        if claims is None:
            return
        self.add_claim(claims, base, "write")
        self.add_holds()
        before, is_late = claims.at + 1, False
        for told in self.steps:
            if told.what == "written":
                name = "is past the fence" if is_late else "updates the row, past the fence"
                self.act(before, told.at, f"writes v{told.about[1]} over v{told.about[0]}", self._write(name, *told.about))
            elif told.what == "locked" and told.about[0] is not None:
                is_late = True
                self.act(before, told.at, f"is late, locks v{told.about[0]}", self.step(f"is late, locks the row, v{told.about[0]}"))
            else:
                continue
            before = told.at + 1
        if any(told.what == "starts over" for told in self.steps):
            self.add_giving_up()
            return
        self.add_end(published=[told for told in self.steps if told.what == "published" and self.is_mine(told.about[0])])

    def _write(self, name: str, base: int, version: int) -> Next:
        update = self.step(name)

        def then(state: State) -> Iterator[State]:
            if state.requests[self.i].base == base:
                for after in update(state):
                    yield self.replace(after, writes=version)

        return then


class Changing(Claiming):
    """One attempt of a change of many, for one of them."""

    def add(self) -> None:
        changed: dict[str, Any] = next((told.about[0] for told in self.steps if told.what == "changed"), {})
        mine = [token for token in changed if self.is_mine(token)]
        held = [token for told in self.steps if told.what in ("bulk", "asks for holds") for token in told.about[0] if self.is_mine(token)]
        rotated = next((told for told in self.steps if told.what == "rotated" and told.about[2] and told.about[0] in mine), None)
        tokens = self.course.traces.tokens
        claims = next((told for told in self.steps if told.what == "claims"), None)
        if claims is None or not (mine or held):
            return
        # The login whose token was to be changed was over by then.
        missed = [told.about[0] for told in self.steps if told.what == "rotated" and not told.about[2]]
        is_noop = not mine or mine[0] in missed
        kind = "spare" if is_noop else "rotate" if rotated else "strip" if changed[mine[0]] else "end"
        self.course.kinds[self.name] = kind
        self.token = tokens[(mine or held)[0]]
        self.add_claim(claims, 0, kind)
        self.add_holds()
        told = next((told for told in self.steps if told.what == "changed"), None)
        if told is None or kind == "spare":
            return
        version = changed[mine[0]] and changed[mine[0]][1]
        lock = self.step("locks the row")

        def locks(state: State) -> Iterator[State]:
            for after in lock(state):
                yield self.replace(after, writes=version or 0)

        # The transaction begins once it has its first holds, or knows that it has none.
        began = max(each.at for each in self.steps if each.at < told.at and each.what in ("claims", "held", "hold failed"))
        self.act(began + 1, told.at, f"locks the row, {kind}", locks)
        fenced = next((each for each in self.steps if each.what == "fenced"), None)
        if fenced is None or any(each.what == "starts over" for each in self.steps):
            self.add_giving_up()
            return
        self.act(told.at + 1, fenced.at, "is past the fence", self.step("is past the fence"))
        self.add_end(published=[each for each in self.steps if each.what == "dropped" and mine[0] in each.about[0]])
