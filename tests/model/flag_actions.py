"""What became of the flag: each step of a process that read it, told Redis, acted on it, flipped it or began an epoch."""

from collections.abc import Iterator

from tests.model.session_protocol import Flag, State
from tests.model.told import EVER, PROTOCOL, Action, Next, Told, Traces


class FlagHistory:
    """What became of the flag, of what each process knew of it, and of the number in Redis."""

    def __init__(self, traces: Traces) -> None:
        self.processes = sorted({told.process for told in traces.told})
        self.runs: dict[str, int] = {}
        self.actions: list[Action] = []
        self._highest = 0
        open_of: dict[tuple[int, int, str], Told] = {}
        self._pending: dict[int, Told] = {}
        self._known: dict[int, tuple[str, int]] = {}
        flips: dict[tuple[int, int], Told] = {}
        for told in traces.told:
            key = told.process, told.task
            if told.what in ("reads the flag", "tells Redis", "fails over", "begins an epoch"):
                open_of[(*key, told.what)] = told
            elif told.what == "read the flag":
                self._read(open_of.get((*key, "reads the flag"), told), told)
            elif told.what == "told Redis":
                self._tell(open_of.pop((*key, "tells Redis"), told), told, open_of)
            elif told.what == "adopted":
                self._adopt(told, open_of.get((*key, "tells Redis")))
                open_of.pop((*key, "tells Redis"), None)
            elif told.what == "flips":
                if key in flips:  # a commit without an answer
                    self._flip(flips[key], EVER)
                flips[key] = told
            elif told.what in ("failed over", "committed") and key in flips:
                self._flip(flips.pop(key), told.at)
            elif told.what == "began an epoch" and told.about[1]:
                self._rise(open_of[(*key, "begins an epoch")], told)
        for flip in flips.values():
            self._flip(flip, EVER)

    def server(self, process: int) -> int:
        return self.processes.index(process)

    def run(self, run_id: str | None) -> int:
        return self.runs.setdefault(run_id or "", len(self.runs) + 1)

    def _read(self, began: Told, told: Told) -> None:
        """Only what leads to another flag than it knew is a step of the model."""
        mode, epoch, run_id = told.about
        if self._known.get(told.process) == (mode, epoch):
            return
        self._pending[told.process] = told
        server, flag = self.server(told.process), Flag(mode, epoch, self.run(run_id))

        def then(state: State) -> Iterator[State]:
            if state.flag[:2] == flag[:2]:
                yield _set_seen(state, server, (state.flag, False))

        self.actions.append(Action(began.at, told.at, f"{told.process} reads the flag {mode} {epoch}", then))

    def _tell(self, began: Told, told: Told, open_of: dict[tuple[int, int, str], Told]) -> None:
        epoch, highest = told.about
        pending, server = self._pending.get(told.process), self.server(told.process)
        if pending and (pending.task == told.task) and pending.at < told.at and epoch == pending.about[1] + (pending.about[0] == "sql"):
            self.actions.append(Action(began.at, told.at, f"{told.process} tells Redis {epoch}", _flag_step(server, "tells Redis")))
        elif highest > self._highest:

            def then(state: State) -> Iterator[State]:
                yield state._replace(told=max(state.told, epoch))

            self.actions.append(Action(began.at, told.at, f"{told.process} tells Redis {epoch} again", then))
        self._highest = max(self._highest, highest)

    def _adopt(self, told: Told, untold: Told | None) -> None:
        mode, epoch = told.about
        if self._known.get(told.process) == (mode, epoch):
            return
        self._known[told.process] = (mode, epoch)
        server, pending = self.server(told.process), self._pending.pop(told.process, told)
        if untold and untold.at > pending.at:
            self.actions.append(Action(untold.at, told.at, f"{told.process} cannot tell Redis", _flag_step(server, "cannot tell Redis")))
        self.actions.append(Action(pending.at, told.at, f"{told.process} acts on the flag {mode} {epoch}", _flag_step(server, "acts on")))

    def _flip(self, told: Told, end: float) -> None:
        def then(state: State) -> Iterator[State]:
            if state.flag[:2] == ("redis", told.about[0]):
                yield state._replace(flag=state.flag._replace(mode="sql"))

        what = f"{told.process} flips the flag down from {told.about[0]}"
        self.actions.append(Action(told.at, end, what, then, (told.process, told.request)))

    def _rise(self, began: Told, told: Told) -> None:
        mode, known_epoch, epoch, run_id = began.about
        run = self.run(run_id)

        def then(state: State) -> Iterator[State]:
            writing = any(request.past_fence and request.step == "locked" for request in state.requests)
            if not writing and epoch > state.flag.epoch and epoch > 0:
                what, risen = PROTOCOL.rise(state._replace(run=run), Flag(mode, known_epoch, 0), epoch)
                if what.endswith("rises"):
                    yield risen

        self.actions.append(Action(began.at, told.at, f"{told.process} begins epoch {epoch}", then))


def _flag_step(server: int, what: str) -> Next:
    def then(state: State) -> Iterator[State]:
        for name, after in PROTOCOL.flag_steps_of(state, server):
            if what in name:
                yield after

    return then


def _set_seen(state: State, server: int, seen: tuple[Flag, bool] | None) -> State:
    return state._replace(seen=(*state.seen[:server], seen, *state.seen[server + 1 :]))
