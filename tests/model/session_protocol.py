"""The session protocol of docs/sessions.md, small enough to be checked in every order its steps can take.

One session row in SQL, its key in Redis, two web servers, and a few requests that go on step by step as `app/sessions` does: a crash
or an eviction anywhere, holds and leases that lapse, a call of Redis that gets no answer, a server that cannot reach Redis, a Redis
that comes back with old data.

    python -m tests.model.session_protocol                 every scenario: the number of states, or the shortest way to a broken promise
    python -m tests.model.session_protocol --fine          the same in smaller steps, which takes an hour
    python -m tests.model.session_protocol --break NAME    without one mechanism; a promise must break (`--break all`: each in turn)

What is promised of every answer, and of the end:
  fresh    nothing is shown that is older than what had been acknowledged when the read began; where a server is cut off from Redis,
           and cannot tell of a fall of the flag, the other has until it looks at it (a second at most), and the cookie till then
  dead     after an acknowledged logout nothing is served (there again: once the server has looked at the flag)
  merged   no write goes over one it has not seen
  settled  when all is quiet, Redis holds nothing, or exactly what SQL holds
One fault at a time. With a pause ("frozen": B cannot tell that it stood still; "paused": it can, and Redis loses the epoch meanwhile)
come two lost calls, the hold of a write and the announcement that follows: until a poll has gone by, B may not know.
Versions count up from 1 here. Change this file together with the code it describes.
"""

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MECHANISMS = {
    "hold": "a writer takes no hold",
    "hold-before-commit": "the commit does not wait for the hold",
    "own-publish": "publish replaces whatever is there unless it is newer, not one's own hold alone",
    "clear-behind": "a writer that lost its hold leaves the lease or the record it finds",
    "hold-again": "what works on a locked row takes no second hold once it has the lock",
    "lease": "a reader refills without a lease taken before it read SQL",
    "fence": "a write does not look at the flag in its own transaction, and a rise does not wait for writes under way",
    "flip": "a writer without a hold leaves the flag as it is",
    "tell": "Redis is not told that an epoch is over; the other server has to look at the flag",
    "tell-higher": "Redis is told that an epoch is over by taking its number away, not by a higher one",
    "epoch": "a return to Redis goes on with the old keys",
    "run-id": "any Redis that answers is taken for the one the epoch is bound to",
    "cookie-version": "a record older than the cookie is served",
    "compare-and-set": "SQL takes a write whichever version it was made from",
    "rise-compare": "a rise that was long in coming goes by the flag as it is by then, with the epoch it had thought of before",
    "tell-again": "the end of an epoch that could not be told is not told again",
    "doubt": "a server that stood still trusts the flag it knew before",
    "hold-age": "a writer that stood still for longer than its hold lives does not look how old it is before it commits",
    "spare-lapse": "a bulk change takes its hold back from a session that it did not change",
    "token-under-lock": "a bulk change that waited for the row goes by the token it read before",
}
UNTIL_PUBLISHED = ("work", "locked")


Key = tuple[int, int]  # epoch, token


class Flag(NamedTuple):
    mode: str
    epoch: int
    run: int  # the run id the epoch is bound to


class Request(NamedTuple):
    """`read`; `write`: one session, by compare-and-set, also where it has expired (manager.write); `restore`: that, if nobody has
    written meanwhile; `strip`, `end`: bulk changes by row lock (manager.change_sessions, manager.end_logins); `rotate`: another token
    for the same session, hence another key (manager.rotate); `spare`: a bulk change that finds no reason to change this session."""

    kind: str
    server: int
    step: str = "waits"
    base: int = 0  # the version it read, later the one it committed
    token: int = 0  # by which it knows the session
    floor: int = 0  # the newest version acknowledged before it began
    cookie: int = 0
    after_end: bool = False  # a logout was acknowledged before it began
    knows: bool = True  # its server knew the flag as it was when it began, or nothing kept it from being told
    fence: Flag | None = None  # the flag it looks under, and then the one its claim was made under
    claim: str = ""  # a writer's: "" under way, held, failed, needless; a reader's: leased
    past_fence: bool = False
    by_lock: bool = False  # it works on whatever the row holds when it has the lock: bulk changes, and a write after a conflict
    writes: int = 0  # the version it commits, where a trace says so; else the next

    def over(self, step: str = "done") -> "Request":
        return Request(self.kind, self.server, step)  # what it knew no longer tells two states apart


class State(NamedTuple):
    version: int  # of the row in SQL, 0 once the login has ended
    row_lock: int  # the request that has it, or -1
    token: int  # of the login in SQL
    keys: tuple[tuple[Key, tuple[str, int]], ...]  # -> ("record", version), ("hold", request) or ("lease", request)
    run: int  # of the Redis that answers now
    told: int  # the epoch Redis has been told of last
    flag: Flag
    known: tuple[Flag, ...]  # what each server last saw of the flag
    acknowledged: int
    cookie: int
    shown: int  # the token the browser was given last
    ended: bool
    requests: tuple[Request, ...]
    crashes: int
    evictions: int
    restarts: int
    lost_calls: int
    rises: int
    riser: tuple[Flag, int] | None  # the flag as it read it, and the epoch it will begin
    untold: bool = False  # an epoch ended, Redis could not be told, and no poll has gone by since
    pauses: int = 0  # of B
    is_noticed: bool = False  # whether B can tell that it stood still; where its whole machine did, it may not
    asleep: bool = False
    doubts: bool = False
    epoch_losses: int = 0
    is_alive: bool = True  # the login, in SQL
    newest: int = 1  # version there ever was: the clock sees to it that a session made anew has a higher one
    lapsed: int = 0  # records up to this version have run out, with their session
    expiries: int = 0
    seen: tuple[tuple[Flag, bool] | None, ...] = (None, None)  # read by each server and not acted on yet; whether Redis was told
    # Calls of writers that gave up waiting, Redis may carry them out at any time: a publish of a version (0: of nothing), or a hold (-1).
    late: tuple[tuple[Key, int, int], ...] = ()
    late_calls: int = 0
    is_long: bool = False  # the pause: holds run out meanwhile


Step = tuple[str, State]


class Broken(Exception):
    """A promise was not kept."""


class Protocol:
    """Every next state of a state. `without` names the mechanisms taken away; `cut_off` the server that cannot reach Redis.

    `fine`: what a request or a poll does in several steps others may come between (`make proof`, and what traces are held against);
    else a request takes the flag for its claim as it loads its session, and a server reads the flag, tells Redis and acts at once.
    """

    def __init__(self, without: frozenset[str] = frozenset(), *, cut_off: int = -1, fine: bool = False) -> None:
        self.without = without
        self.cut_off = cut_off
        self.fine = fine

    def next_states(self, state: State) -> Iterator[Step]:
        for i in range(len(state.requests)):
            yield from self.steps_of(state, i)
        yield from self._world(state)

    def steps_of(self, state: State, i: int) -> Iterator[Step]:
        """What one request can do next."""
        request = state.requests[i]
        if request.step in ("done", "crashed") or (request.server == 1 and state.asleep):
            return
        steps = self._read(state, i, request) if request.kind == "read" else self._write(state, i, request)
        for what, after in self._begin(state, i, request) if request.step == "waits" else steps:
            yield f"{request.kind} {i} on {_letter(request.server)} {what}", after
        if state.crashes and request.kind != "read" and request.step in (*UNTIL_PUBLISHED, "publish"):
            freed = -1 if state.row_lock == i else state.row_lock
            yield f"{request.kind} {i} CRASHES", _with(state, i, request.over("crashed"), crashes=state.crashes - 1, row_lock=freed)

    def check_settled(self, state: State) -> None:
        for token in range(state.token + 1):
            entry, version = _entry(state, (state.flag.epoch, token)), state.version if token == state.token else 0
            is_served = state.flag.mode == "redis" and state.flag.run == state.run and state.told == state.flag.epoch
            if is_served and entry and entry[0] == "record" and entry[1] not in (version, *range(state.lapsed + 1)):
                raise Broken(f"settled: Redis keeps v{entry[1]}, SQL has {f'v{version}' if version else 'ended it'}")

    def _begin(self, state: State, i: int, request: Request) -> Iterator[Step]:
        knows = state.known[request.server] == state.flag or (self.cut_off == -1 and not state.untold)
        floor, cookie, token = state.acknowledged, state.cookie, state.shown
        fence = state.known[request.server] if self.fine else None
        if fence and request.server == 1 and state.doubts:
            fence = fence._replace(mode="sql")  # decided as it begins: whether the flag has been read when it looks is too late
        began = request._replace(step="look", floor=floor, cookie=cookie, token=token, after_end=state.ended, knows=knows, fence=fence)
        yield "begins", _with(state, i, began)

    # manager.read

    def _read(self, state: State, i: int, request: Request) -> Iterator[Step]:
        if request.step == "look":
            flag, doubts = request.fence or state.known[request.server], request.server == 1 and state.doubts
            if not doubts and flag.mode == "redis" and self._reaches(state, request.server, flag):
                key = flag.epoch, request.token
                entry = _entry(state, key)
                if state.told == flag.epoch and self._may_serve(state, entry, request):
                    _check_answer(request, entry[1] if entry else 0, "Redis")
                    yield f"is served v{entry[1] if entry else 0} by Redis", _with(state, i, request.over())
                    if not self.fine:
                        return
                elif state.told == flag.epoch and entry is None:  # SET NX decides for itself, so looking and leasing may be one step
                    leased = state if "lease" in self.without else _put(state, key, ("lease", i))
                    yield "misses, takes a lease", _with(leased, i, request._replace(step="sql", fence=flag, claim="leased"))
                    if not self.fine:
                        return
            # Also where Redis would serve: a breaker is open, a call was lost, somebody else has the lease.
            yield "turns to SQL", _with(state, i, request._replace(step="sql"))
        elif request.step == "sql":
            is_known = state.is_alive and request.token == state.token
            if is_known and state.version:
                _check_answer(request, state.version, "SQL")
            refills = request.claim == "leased" and is_known and state.version
            after = request._replace(step="refill", base=state.version) if refills else request.over()
            yield f"reads v{state.version} in SQL" if is_known else "finds in SQL that it is gone", _with(state, i, after)
        elif request.fence is not None:  # refill
            key = request.fence.epoch, request.token
            entry = _entry(state, key)
            mine = entry == ("lease", i)
            if "lease" in self.without:
                mine = entry is None or (entry[0] == "record" and entry[1] < request.base)
            if mine and self._reaches(state, request.server, request.fence):
                record = ("record", request.base) if request.base > state.lapsed else None
                yield f"refills v{request.base}", _with(_put(state, key, record), i, request.over())
            if not mine or self.fine or not self._reaches(state, request.server, request.fence):
                yield "does not refill", _with(state, i, request.over())

    # manager._write and _write_many, holds.WriteHolds

    def _write(self, state: State, i: int, request: Request) -> Iterator[Step]:
        if request.step in ("look", "look again"):
            yield from self._load(state, i, request)
        if request.step == "loaded":
            yield "begins its claim", _with(state, i, request._replace(step="work", fence=state.known[request.server]))
        if request.step in UNTIL_PUBLISHED and not request.claim:
            yield from self._take_hold(state, i, request)
        # A change of many may meet a session that it did not look for, and then holds it under the lock alone.
        if request.step == "work" and state.row_lock == -1 and (request.claim or request.kind != "spare"):
            yield self._change_row(state, i, request)
        if request.step == "locked" and not request.past_fence:
            if not request.by_lock or not _is_single(request) or (request.claim and state.row_lock in (-1, i)):
                yield self._pass_fence(state, i, request)
        elif request.step == "locked" and request.claim == "lapsed":
            yield self._start_over(state, i, request)
        elif request.step == "locked" and (request.claim or "hold-before-commit" in self.without):
            yield self._commit(state, i, request)
        if request.step == "publish":
            yield from self._publish(state, i, request)
        if request.step == "fall" and request.fence:
            flag = state.flag if "flip" in self.without else _flipped(state.flag, request.fence)
            yield "flips the flag down", _with(state, i, request._replace(step="publish"), flag=flag)
        if request.step == "answer":
            yield self._acknowledge(state, i, request)

    def _load(self, state: State, i: int, request: Request) -> Iterator[Step]:
        """A write starts from what its request was served by: Redis perhaps. Looking again is for SQL."""
        known, by_lock = state.known[request.server], not _is_single(request)
        flag, token = request.fence or known, state.token if by_lock else request.token
        entry = _entry(state, (flag.epoch, token))
        is_current = flag.mode == "redis" and state.told == flag.epoch
        in_redis = is_current and self._reaches(state, request.server, flag) and self._may_serve(state, entry, request)
        bases = [entry[1]] if entry and in_redis and not by_lock and request.step == "look" else []
        if self.fine or not bases:
            bases += [state.version] if state.is_alive and token == state.token else [-1]
        for base in bases:
            if base >= 0:
                loaded = request._replace(step="work", base=base, token=token, fence=known, claim="", past_fence=False, by_lock=by_lock)
                loaded = loaded._replace(step="loaded", fence=None) if self.fine else loaded
                yield f"loads v{base}{', begins its claim' * (not self.fine)}", _with(state, i, loaded)
            else:
                yield "finds no session", _with(state, i, request._replace(step="answer") if request.kind == "end" else request.over())

    def _take_hold(self, state: State, i: int, request: Request) -> Iterator[Step]:
        assert request.fence is not None
        without_one, key = _with(state, i, request._replace(claim="failed")), (request.fence.epoch, request.token)
        if request.fence.mode == "sql":
            yield "needs no hold", _with(state, i, request._replace(claim="needless"))
        elif "hold" in self.without:
            yield "takes no hold", _with(state, i, request._replace(claim="held"))
        elif self._reaches(state, request.server, request.fence):
            held = _put(state, key, ("hold", i))
            yield "takes a hold", _with(held, i, request._replace(claim="held"))
            if state.lost_calls:
                yield "gets no hold: Redis LOST THE CALL", without_one._replace(lost_calls=state.lost_calls - 1)
                lost = _with(held, i, request._replace(claim="failed"))
                yield "gets no hold: THE ANSWER IS LOST", lost._replace(lost_calls=state.lost_calls - 1)
            if state.late_calls:
                late = without_one._replace(late_calls=state.late_calls - 1, late=tuple(sorted({*state.late, (key, i, -1)})))
                yield "gets no hold: THE CALL IS LATE", late
        else:
            yield "cannot take a hold", without_one

    def _change_row(self, state: State, i: int, request: Request) -> Step:
        """By compare-and-set, with the fence as part of the statement; by lock the fence comes later."""
        if request.by_lock:
            # A write that committed since the first hold may have replaced it, and would publish over what is changed now.
            claim = "" if "hold-again" not in self.without and request.claim == "held" else request.claim
            token = request.token if request.kind == "write" or "token-under-lock" in self.without else state.token
            if request.kind == "spare":  # its hold may lie over that of a writer under way: it lapses
                takes_back = request._replace(step="publish", base=0) if "spare-lapse" in self.without else request.over()
                return "finds nothing to change here", _with(state, i, takes_back)
            locked = request._replace(step="locked", claim=claim, base=state.version, token=token)
            return f"locks the row, v{state.version}", _with(state, i, locked, row_lock=i)
        moved = state.version != request.base and ("compare-and-set" not in self.without or not state.version)
        moved = moved or request.token != state.token or not state.is_alive
        if moved or not self._fence_holds(state, request):
            return self._take_late_row(state, i, request)
        return "updates the row, past the fence", _with(state, i, request._replace(step="locked", past_fence=True), row_lock=i)

    def _take_late_row(self, state: State, i: int, request: Request) -> Step:
        """In the same transaction, by the fence it has; where there is no row, none can be locked."""
        if not state.is_alive or request.token != state.token:
            return self._start_over(state, i, request)
        if request.kind == "restore" and state.version:
            return "finds that somebody else has written, leaves it", _with(state, i, request.over())
        claim = "" if "hold-again" not in self.without and request.claim == "held" else request.claim
        late = request._replace(step="locked", by_lock=True, claim=claim, base=state.version)
        return f"is late, locks the row, v{state.version}", _with(state, i, late, row_lock=i if state.version else state.row_lock)

    def _pass_fence(self, state: State, i: int, request: Request) -> Step:
        moved = _is_single(request) and (not state.is_alive or request.token != state.token or state.version != request.base)
        if not self._fence_holds(state, request) or moved:
            return self._start_over(state, i, request)
        return "is past the fence", _with(state, i, request._replace(past_fence=True), row_lock=i)

    def _fence_holds(self, state: State, request: Request) -> bool:
        return "fence" in self.without or request.fence is None or request.fence[:2] == state.flag[:2]

    def _start_over(self, state: State, i: int, request: Request) -> Step:
        freed = -1 if state.row_lock == i else state.row_lock
        again = request._replace(step="look again", base=0, fence=None, claim="", past_fence=False, by_lock=False)
        looked = state if self.fine else self._look_at_flag(state, request.server)
        return "finds that something moved, starts over", _with(looked, i, again, row_lock=freed)

    def _commit(self, state: State, i: int, request: Request) -> Step:
        assert request.fence is not None
        flips = request.fence.mode == "redis" and request.claim == "failed" and "flip" not in self.without
        flag = _flipped(state.flag, request.fence) if flips else state.flag
        is_gone = request.kind == "end" or not state.is_alive or (not _is_single(request) and not state.version)
        version = 0 if is_gone else request.writes or max(request.base, state.newest) + 1
        if _is_single(request) and state.version != request.base:
            raise Broken(f"merged: writes v{version} from v{request.base} over v{state.version}")
        committed = request._replace(step="publish", base=version)
        what = f"commits v{version}{', flips the flag down' * flips}"
        token = state.token + 1 if request.kind == "rotate" and state.is_alive else state.token
        after = state._replace(version=version, newest=max(version, state.newest), token=token, row_lock=-1, flag=flag)
        return what, _with(after, i, committed, is_alive=state.is_alive and request.kind != "end")

    def _publish(self, state: State, i: int, request: Request) -> Iterator[Step]:
        answering = request._replace(step="answer")
        if request.claim == "failed" and self.fine:
            if request.fence and state.known[request.server][:2] != request.fence[:2]:
                yield "knows of the fall", _with(state, i, answering)
            if state.lost_calls:
                yield "cannot learn of the fall", _with(state, i, answering, lost_calls=state.lost_calls - 1, untold=True)
            return
        if request.claim == "failed":
            yield "tells of the fall", _with(self._look_at_flag(state, request.server), i, answering)
            if state.lost_calls:
                looked = self._look_at_flag(state, request.server)._replace(told=state.told, untold=True)
                yield "cannot tell of the fall", _with(looked, i, answering)._replace(lost_calls=state.lost_calls - 1)
            return
        if request.claim != "held" or request.fence is None:
            yield "has nothing to publish", _with(state, i, answering)
            return
        key = request.fence.epoch, request.token
        flag = state.flag if "flip" in self.without else _flipped(state.flag, request.fence)
        unpublished = _with(state, i, request._replace(claim="failed"), flag=flag)
        if self.fine and state.lost_calls:
            late = tuple(sorted({*state.late, (key, i, request.base if _is_single(request) else 0)}))
            fallen = _with(state, i, request._replace(step="fall", claim="failed"), lost_calls=state.lost_calls - 1)
            yield "gets no answer as it publishes: Redis LOST THE CALL", fallen
            yield "gets no answer as it publishes: THE CALL IS LATE", fallen._replace(late=late)
        elif state.late_calls:
            late = tuple(sorted({*state.late, (key, i, request.base)}))
            yield (
                "gets no answer as it publishes, flips the flag down, THE CALL IS LATE",
                unpublished._replace(late=late, late_calls=state.late_calls - 1),
            )
        if not self._reaches(state, request.server, request.fence):
            yield "cannot publish, flips the flag down", unpublished
            return
        if state.lost_calls and not self.fine:
            yield "gets no answer as it publishes, flips the flag down", unpublished._replace(lost_calls=state.lost_calls - 1)
        what, published = self._carry_out(state, key, i, request)
        yield what, _with(published, i, answering)

    def _carry_out(self, state: State, key: Key, i: int, request: Request) -> Step:
        """The script in Redis. Of a change of many it deletes, whatever it finds, but another writer's hold."""
        entry = _entry(state, key)
        mine = entry == ("hold", i)
        if self.without & {"own-publish", "hold"}:
            mine = entry is None or entry[0] != "record" or entry[1] <= request.base
        if mine:
            is_kept = _is_single(request) and request.base > state.lapsed
            return "publishes", _put(state, key, ("record", request.base) if is_kept else None)
        if entry and entry[0] != "hold" and "clear-behind" not in self.without:
            return f"lost its hold, deletes a {entry[0]}", _put(state, key, None)
        return "lost its hold", state

    def _acknowledge(self, state: State, i: int, request: Request) -> Step:
        if request.kind == "end":
            return "is answered", _with(state, i, request.over(), ended=True)
        newest, shown = max(state.acknowledged, request.base), request.token + 1 if request.kind == "rotate" else state.shown
        cookie = max(state.cookie, request.base) if _is_single(request) else state.cookie  # a strip is another browser's request
        return f"is answered, v{request.base}", _with(state, i, request.over(), acknowledged=newest, cookie=cookie, shown=shown)

    # Redis, the flag, the probe

    def _world(self, state: State) -> Iterator[Step]:
        for key, entry in state.keys:
            # A hold lives longer than any transaction may, so longer than that of whoever held this key before.
            held = any(r.claim == "held" and r.step in UNTIL_PUBLISHED for r in state.requests)
            if entry[0] == "lease" or (entry[0] == "hold" and not held):
                yield f"a {entry[0]} lapses", _put(state, key, None)
            if state.evictions:
                yield "Redis evicts the key", _put(state, key, None)._replace(evictions=state.evictions - 1)
        if state.restarts:
            yield "Redis restarts with old data", _put(state, (1, 0), ("record", 1))._replace(run=state.run + 1, told=1, restarts=0)
        for call in state.late:
            yield "Redis carries out A LATE CALL", self.carry_out_late(state, call)
        if state.expiries and state.version and state.row_lock == -1:
            yield "THE SESSION EXPIRES", self.expire(state)._replace(expiries=state.expiries - 1)
        yield from self._pauses(state)
        for server, known in enumerate(state.known):
            if server == 1 and state.asleep:
                continue
            if self.fine:
                yield from self.flag_steps_of(state, server)
            elif known != state.flag:
                yield f"{_letter(server)} looks at the flag", self._look_at_flag(state, server)
            doubts = server == 1 and state.doubts
            if not doubts and known.mode == "redis" and known.epoch > state.told and self._reaches(state, server, known):
                yield f"{_letter(server)} tells Redis the epoch", state._replace(told=known.epoch)
        if state.lost_calls and state.flag.mode == "redis":
            yield (
                "the probe GETS NO ANSWER, flips the flag down",
                state._replace(flag=_flipped(state.flag, state.flag), lost_calls=state.lost_calls - 1),
            )
        if state.flag.mode == "redis" and state.flag.run != state.run:
            yield "the probe sees another Redis, flips the flag down", state._replace(flag=_flipped(state.flag, state.flag))
        writing = any(r.past_fence and r.step == "locked" for r in state.requests)
        # From sql the probe lets the flag rise; from a Redis that is no more, the first server to start may, too.
        if state.rises and (state.flag.mode == "sql" or state.flag.run != state.run):
            epoch = state.flag.epoch if "epoch" in self.without else max(state.flag.epoch, state.told) + 1
            rising = state._replace(flag=Flag("redis", epoch, state.run), rises=state.rises - 1)
            if "fence" in self.without or not writing:
                yield "the flag rises", rising
            if state.riser is None and state.rises > 1:
                yield "somebody thinks of a rise", state._replace(riser=(state.flag, epoch), rises=state.rises - 1)
        if state.riser and ("fence" in self.without or not writing):
            yield self.rise(state, *state.riser)

    def rise(self, state: State, known: Flag, epoch: int) -> Step:
        """backend.begin_epoch, by compare-and-set from the flag it was thought of under."""
        if "rise-compare" in self.without or state.flag[:2] == known[:2]:
            return "what was thought of rises", state._replace(flag=Flag("redis", epoch, state.run), riser=None)
        return "what was thought of comes to nothing", state._replace(riser=None)

    def expire(self, state: State) -> State:
        """The session runs out, and its records with it: they live no longer than it does. The sweep takes away what nobody sees."""
        kept = tuple(pair for pair in state.keys if pair[1][0] != "record")
        return state._replace(version=0, lapsed=state.newest, keys=kept, acknowledged=0, cookie=0)

    def carry_out_late(self, state: State, call: tuple[Key, int, int]) -> State:
        key, i, version = call
        left = state._replace(late=tuple(each for each in state.late if each != call))
        if version < 0:
            return _put(left, key, ("hold", i))
        return self._carry_out(left, key, i, state.requests[i]._replace(base=version))[1]

    def flag_steps_of(self, state: State, server: int) -> Iterator[Step]:
        """backend.refresh, in its three steps: it acts on what it read once Redis is told, or could not be."""
        pending, name = state.seen[server], _letter(server)
        if pending is None:
            if state.known[server] != state.flag or state.riser is not None:
                yield f"{name} reads the flag", _with_seen(state, server, (state.flag, False))
            return
        flag, is_told = pending
        if not is_told and flag[:2] != state.known[server][:2] and "tell" not in self.without:
            told = max(state.told, flag.epoch + (flag.mode == "sql"))
            if server != self.cut_off:
                yield f"{name} tells Redis", _with_seen(state, server, (flag, True))._replace(told=told)
            if server == self.cut_off:
                yield f"{name} cannot tell Redis", _with_seen(state, server, (flag, True))
            elif state.lost_calls:
                yield (
                    f"{name} cannot tell Redis",
                    _with_seen(state, server, (flag, True))._replace(lost_calls=state.lost_calls - 1, untold=True),
                )
            return
        known = (*state.known[:server], flag, *state.known[server + 1 :])
        yield f"{name} acts on the flag", _with_seen(state, server, None)._replace(known=known, doubts=state.doubts and server != 1)

    def _pauses(self, state: State) -> Iterator[Step]:
        """B stands still, and a second goes by in which everybody else polls."""
        if state.pauses and not state.asleep:
            yield "B STANDS STILL", state._replace(pauses=0, asleep=True)
        if state.asleep:
            yield "B goes on", state._replace(asleep=False, doubts=state.is_noticed and "doubt" not in self.without)
        for i, request in enumerate(state.requests):
            if state.asleep and state.is_long and request.server == 1 and request.claim == "held" and request.fence:
                key, claim = (request.fence.epoch, request.token), "held" if "hold-age" in self.without else "lapsed"
                claim = "held" if request.step not in UNTIL_PUBLISHED else claim
                if _entry(state, key) == ("hold", i):
                    yield "B'S HOLD RUNS OUT", _with(_put(state, key, None), i, request._replace(claim=claim))
        if state.epoch_losses and state.asleep:
            yield "Redis LOSES THE EPOCH", state._replace(epoch_losses=0, told=0)
        if state.untold:
            polled = self._look_at_flag(state, 0)
            polled = polled if state.asleep else self._look_at_flag(polled, 1)
            told = state.told if "tell-again" in self.without else max(state.told, state.flag.epoch + (state.flag.mode == "sql"))
            yield "a poll goes by", polled._replace(told=told, untold=False)

    def _look_at_flag(self, state: State, server: int) -> State:
        """backend.refresh: Redis is told that an epoch is over before the server acts on it."""
        flag, told = state.flag, state.told
        known = (*state.known[:server], flag, *state.known[server + 1 :])
        if flag[:2] != state.known[server][:2] and server != self.cut_off and "tell" not in self.without:
            told = 0 if "tell-higher" in self.without else max(told, flag.epoch + (flag.mode == "sql"))
        return state._replace(known=known, told=told, doubts=state.doubts and server != 1)

    def _reaches(self, state: State, server: int, flag: Flag) -> bool:
        return server != self.cut_off and ("run-id" in self.without or flag.run == state.run)

    def _may_serve(self, state: State, entry: tuple[str, int] | None, request: Request) -> bool:
        if entry is None or entry[0] != "record" or entry[1] <= state.lapsed:
            return False
        return "cookie-version" in self.without or entry[1] >= request.cookie


def _check_answer(request: Request, version: int, source: str) -> None:
    if request.after_end and request.knows:
        raise Broken(f"dead: served by {source} after an acknowledged logout")
    floor = request.floor if request.knows else request.cookie
    if version < floor:
        raise Broken(f"fresh: saw v{version} from {source} although v{floor} had been acknowledged")


def _entry(state: State, key: Key) -> tuple[str, int] | None:
    return next((entry for of, entry in state.keys if of == key), None)


def _put(state: State, key: Key, entry: tuple[str, int] | None) -> State:
    others = [pair for pair in state.keys if pair[0] != key]
    return state._replace(keys=tuple(sorted([*others, (key, entry)] if entry else others)))


def _with(state: State, i: int, request: Request, **changes: object) -> State:
    return state._replace(requests=(*state.requests[:i], request, *state.requests[i + 1 :]), **changes)  # type: ignore[arg-type]


def _with_seen(state: State, server: int, seen: tuple[Flag, bool] | None) -> State:
    return state._replace(seen=(*state.seen[:server], seen, *state.seen[server + 1 :]))


def _is_single(request: Request) -> bool:
    return request.kind in ("write", "restore")


def _letter(server: int) -> str:
    return chr(ord("A") + server)


def _flipped(flag: Flag, fence: Flag) -> Flag:
    return flag._replace(mode="sql") if flag[:2] == fence[:2] else flag


class Scenario(NamedTuple):
    requests: Sequence[tuple[str, int]]
    faults: Sequence[str] = ("crash", "evict")
    warm: bool = True
    cut_off: int = -1
    mode: str = "redis"
    rises: int = 1

    def first_state(self, fault: str) -> State:
        flag, keys = Flag(self.mode, 1, 1), (((1, 0), ("record", 1)),) if self.warm else ()
        crashes, evictions, restarts, lost_calls = (int(fault == kind) for kind in ("crash", "evict", "restart", "lost call"))
        late_calls, expiries = int(fault == "late call"), int(fault == "expiry")
        rises = self.rises * (fault in ("restart", "cut off", "lost call", "late call"))
        crashes += fault == "long pause"
        is_pause = fault in ("frozen", "paused")
        pause = {"pauses": int(is_pause), "is_noticed": fault == "paused", "epoch_losses": int(fault == "paused")}
        pause |= {"pauses": 1, "is_noticed": True, "is_long": True} if fault == "long pause" else {}
        lost_calls += 2 * is_pause
        requests = tuple(Request(kind, server) for kind, server in self.requests)
        first = State(
            1, -1, 0, keys, 1, 1, flag, (flag, flag), 1, 1, 0, False, requests, crashes, evictions, restarts, lost_calls, rises, None
        )
        return first._replace(late_calls=late_calls, expiries=expiries, **pause)  # type: ignore[arg-type]


SCENARIOS = {
    "a writer stands still for longer than its hold lives": Scenario([("write", 1), ("read", 0), ("read", 1)], ("long pause",)),
    "a logout stands still for longer than its hold lives": Scenario([("end", 1), ("read", 0), ("read", 1)], ("long pause",)),
    "a session expires": Scenario([("restore", 0), ("write", 1), ("read", 1)], ("expiry",)),
    "a session expires while it is ended": Scenario([("end", 0), ("write", 1), ("read", 1)], ("expiry",)),
    "a revoke that does not concern a writer": Scenario([("spare", 0), ("write", 1), ("read", 1)], ("evict", "crash")),
    "a call of a logout is late": Scenario([("end", 0), ("read", 1), ("read", 1)], ("late call",)),
    "a call of a selection is late": Scenario([("write", 0), ("read", 1)], ("late call",)),
    "a cold key": Scenario([("write", 0), ("read", 1), ("read", 0)], warm=False),
    "two writers": Scenario([("write", 0), ("write", 1), ("read", 1)]),
    "a revoke against a writer": Scenario([("strip", 0), ("write", 1), ("read", 1)]),
    "a revoke against readers": Scenario([("strip", 0), ("read", 1), ("read", 1)], warm=False),
    "a logout against readers": Scenario([("end", 0), ("read", 1), ("read", 1)], warm=False),
    "a logout against a writer": Scenario([("end", 0), ("write", 1), ("read", 1)]),
    "B is cut off and writes": Scenario([("write", 1), ("read", 0), ("read", 1)], ("cut off", "crash"), cut_off=1),
    "B is cut off and logs out": Scenario([("end", 1), ("read", 0), ("read", 1)], ("cut off", "crash"), cut_off=1),
    "old data and a revoke": Scenario([("strip", 0), ("read", 1)], ("restart",)),
    "B is cut off, both write": Scenario([("write", 1), ("write", 0), ("read", 0)], ("cut off",), cut_off=1),
    "Redis restarts with old data": Scenario([("write", 0), ("read", 1), ("read", 0)], ("restart",)),
    "old data and a logout": Scenario([("end", 0), ("read", 1)], ("restart",)),
    "a revoke against another token": Scenario([("strip", 0), ("rotate", 1), ("read", 1)]),
    "another token against a writer": Scenario([("rotate", 0), ("write", 1), ("read", 1)]),
    "two begin an epoch": Scenario([("write", 0), ("read", 1)], ("lost call",), mode="sql", rises=2),
    "a call of a selection is lost": Scenario([("write", 0), ("read", 1), ("read", 1)], ("lost call",)),
    "a call of a revoke is lost": Scenario([("strip", 0), ("write", 1), ("read", 1)], ("lost call",)),
    "a logout while B stands still": Scenario([("end", 0), ("read", 1)], ("frozen", "paused")),
    "a revoke while B stands still": Scenario([("strip", 0), ("read", 1)], ("frozen", "paused")),
    "a call of a logout is lost": Scenario([("end", 0), ("read", 1), ("read", 1)], ("lost call",), warm=False),
}


def explore(scenario: Scenario, fault: str, without: frozenset[str] = frozenset(), *, fine: bool = False) -> tuple[int, list[str]]:
    """Breadth first through every order: the number of states, and the shortest way to a broken promise, empty if there is none."""
    protocol = Protocol(without, cut_off=scenario.cut_off, fine=fine)
    first = scenario.first_state(fault)
    came_from: dict[State, Step | None] = {first: None}
    queue = deque([first])
    while queue:
        state = queue.popleft()
        is_quiet = True
        try:
            for what, after in protocol.next_states(state):
                is_quiet = False
                if after not in came_from:
                    came_from[after] = (what, state)
                    queue.append(after)
            if is_quiet:
                protocol.check_settled(state)
        except Broken as broken:
            return len(came_from), [*_way_to(state, came_from), f"BROKEN, {broken}"]
    return len(came_from), []


def _way_to(state: State, came_from: dict[State, Step | None]) -> list[str]:
    way: list[str] = []
    while (step := came_from[state]) is not None:
        what, state = step
        way.append(what)
    return way[::-1]


def find_broken(without: str) -> list[str]:
    """The first broken promise of a protocol without one mechanism: the scenario, and the way there."""
    # What a pause alone shows is looked for there first, and else where two requests meet: three have many more orders.
    first = "stands still" if without in ("tell-again", "doubt") else ""
    for name, scenario in sorted(SCENARIOS.items(), key=lambda each: (first not in each[0], len(each[1].requests))):
        for fault in scenario.faults:
            _, story = explore(scenario, fault, frozenset({without}))
            if story:
                return [f"{name} ({fault})", *story]
    return []


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["--break"]:
        for name in MECHANISMS if arguments[1:] == ["all"] else arguments[1:]:
            story = find_broken(name) or ["NOTHING BROKE: the mechanism is not needed, or the model is too coarse"]
            _say(f"Without {name}: {MECHANISMS[name]}.\n    " + "\n    ".join(story))
        return 0
    is_broken = False
    for name, scenario in SCENARIOS.items():
        for fault in scenario.faults:
            count, story = explore(scenario, fault, fine=arguments[:1] == ["--fine"])
            is_broken |= bool(story)
            _say(f"{name} ({fault}): {count} states, " + ("\n    ".join(story) or "every promise kept"))
    return int(is_broken)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
