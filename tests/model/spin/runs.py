"""What is verified, and what is broken on purpose."""

from dataclasses import dataclass

from tests.model.spin.verify import Bounds

COARSE, PAIR, FOR_EVER = "COARSE", "ONE_WRITES_ONE_READS", "FOR_EVER"
ON_SQL, JUDGED = "START_ON_SQL", "JUDGED"

# Every state of each is visited. `make test` runs the short ones.
SHORT = (
    Bounds((1, 2), switches=(COARSE,)),
    Bounds((1, 1), 1, switches=(COARSE, PAIR)),
    Bounds((1, 1), 1, switches=(COARSE, PAIR, FOR_EVER)),
    Bounds((1, 0), 1, switches=(COARSE,), formula="used_in_the_end"),
    Bounds((1, 1), switches=(COARSE,), formula="answered_in_the_end"),
)
LONG = (
    Bounds((2, 2), switches=(COARSE,)),
    Bounds((1, 1), 1, switches=(COARSE,)),
    Bounds((1, 2), 1, "eviction", switches=(COARSE,)),
    Bounds((1, 2), 1, "cut", switches=(COARSE,)),
    Bounds((1, 2), 1, "kill", switches=(COARSE,)),
    Bounds((1, 1), 1, "cut"),
    Bounds((1, 1), 1, "cut", 1, switches=(COARSE, PAIR)),
    Bounds((1, 1), 1, "hang", 1, switches=(COARSE, PAIR)),
    Bounds((1, 1), 1, switches=(COARSE, PAIR), formula="used_in_the_end"),
    Bounds((1, 1), 1, switches=(COARSE, PAIR), formula="answered_in_the_end"),
)


@dataclass(frozen=True)
class Mechanism:
    """A rule of the protocol, the promise that breaks without it, and bounds in which it does."""

    rule: str
    promise: str
    bounds: Bounds
    is_long: bool = False


BREAKS = {
    "COMMIT_WAITS": Mechanism("the commit waits for the hold", "read your writes", Bounds((1, 2), 1, "cut", switches=(COARSE, PAIR))),
    "PUBLISH_OWN": Mechanism("publish replaces only one's own hold", "no ghost", Bounds((1, 2), switches=(COARSE,))),
    "LOST_HOLD": Mechanism(
        "a writer that lost its hold deletes a lease or a record it finds",
        "no ghost",
        Bounds((1, 2), 1, "eviction", switches=(COARSE, PAIR)),
    ),
    "LEASE": Mechanism("a lease is taken before SQL is read", "no ghost", Bounds((1, 2), switches=(COARSE,))),
    "HELD_AGAIN": Mechanism("the holds are taken again under the row lock", "no ghost", Bounds((1, 2), switches=(COARSE,))),
    "FENCE": Mechanism("every write checks the flag in its own transaction", "no ghost", Bounds((1, 2), switches=(COARSE, PAIR, ON_SQL))),
    "FLIP": Mechanism("a writer without a hold flips the flag", "no ghost", Bounds((1, 1), 1, "cut", switches=(COARSE, PAIR))),
    "TOLD": Mechanism("who learns that an epoch is over raises hf:epoch", "no ghost", Bounds((1, 1), 1, "hang", switches=(COARSE, PAIR))),
    "TOLD_AGAIN": Mechanism(
        "hf:epoch is raised again at every poll", "no ghost", Bounds((1, 1), 1, "hang", 1, switches=(COARSE, PAIR)), is_long=True
    ),
    "RETURN_TOLD": Mechanism(
        "a return raises hf:epoch before anybody uses the new epoch",
        "no ghost",
        Bounds((1, 1), 1, "hang", 1, switches=(COARSE, PAIR)),
        is_long=True,
    ),
    "DOUBT": Mechanism("a process that stood still asks SQL", "no ghost", Bounds((1, 1), 1, "cut", 1, switches=(COARSE, PAIR))),
    "EPOCH": Mechanism("a return begins a new epoch", "no ghost", Bounds((1, 1), switches=(COARSE, PAIR, ON_SQL))),
    "INSTANCE": Mechanism("an epoch is bound to one instance", "no ghost", Bounds((1, 1), 1, "crash", switches=(COARSE, PAIR))),
    "COOKIE": Mechanism("a record older than the cookie is not served", "read your writes", Bounds((2, 0), 1, "cut", switches=(COARSE,))),
    "COMPARE": Mechanism("compare-and-set on the version", "no lost update", Bounds((1, 1), switches=(COARSE,))),
    "UNKNOWN": Mechanism("only SQL says gone", "three outcomes", Bounds((1, 0), 1, "SQL away", switches=(COARSE,))),
    "PROOF": Mechanism("a record is proven", "no thin air", Bounds((1, 0), 1, "forgery", switches=(COARSE,))),
    "ANSWER_LAST": Mechanism("a change is answered once it is committed", "durable", Bounds((1, 0), 1, "SQL away", switches=(COARSE,))),
    "DEADLINE": Mechanism(
        "a call to Redis gives up", "every request is answered", Bounds((1, 0), 1, "hang", switches=(COARSE, FOR_EVER, JUDGED))
    ),
    "PROBE_FALLS": Mechanism("another instance sets the flag to sql", "used again", Bounds((0, 0), 1, "crash", switches=(COARSE, JUDGED))),
    "RETURN": Mechanism("the probe returns to Redis", "used again", Bounds((0, 0), 1, switches=(COARSE, JUDGED))),
    "MIRROR": Mechanism(
        "a process mirrors its epoch at every poll", "used again", Bounds((0, 0), 1, "eviction", switches=(COARSE, JUDGED))
    ),
}
