/*
 * The protocol of docs/sessions.md for one session: two web servers, two browsers with the same cookies, one Redis, one SQL, the probe.
 * `python -m tests.model.spin` builds and runs it; -DBREAK_… takes one mechanism away.
 *
 * The row of the session is its version; what a version holds never changes, so a record is a version. Every SQL statement and every Redis
 * script is one atomic step. Time is what may have happened: a hold lapses once its writer cannot commit any more, leases and records at any
 * moment, "within a second" is until a server has looked at the flag again or has stood still.
 *
 * Promises, as named where one is asserted:
 *   durable            what was answered 2xx is in SQL
 *   read your writes   no browser is served less than it wrote, nor less than it was shown
 *   no lost update     changes of different keys of one session both last
 *   no ghost           what was answered is what every later request is served
 *   three outcomes     only SQL says that a session is gone
 *   (no thin air)      nothing is served that was never committed
 * Liveness: every request is answered; after the last fault Redis is used again.
 */

#ifndef REQUESTS_A
#define REQUESTS_A 1 /* how many requests the first browser makes */
#endif
#ifndef REQUESTS_B
#define REQUESTS_B 2
#endif
#ifndef FAULTS
#define FAULTS 1 /* how many faults befall a run, one at a time */
#endif
#ifndef PAUSES
#define PAUSES 0 /* how often a server stands still for longer than a poll */
#endif
#ifdef ONLY
#define WITH(fault) (fault == ONLY) /* which kinds of fault there are */
#else
#define WITH(fault) true
#endif
/* COARSE: a poll is one step, and no breaker opens. */
#define EPOCHS 6 /* one more than can begin; checked */
#define TRIES 3

/* Kinds of fault */
#define EVICTION 1
#define CRASH 2
#define HANG 3
#define CUT 4
#define KILL 5
#define SQL_AWAY 6
#define FORGERY 7

#ifdef ONE_WRITES_ONE_READS
#define DOES(b, what) ((b == 0 && what == SELECT) || (b == 1 && what == READ))
#else
#define DOES(b, what) true
#endif

/* START_ON_SQL: an outage is over, the flag still says sql, and Redis kept what it had. */
#ifdef START_ON_SQL
#define FIRST_FLAG 3
#define FIRST_REDIS_EPOCH 2
#else
#define FIRST_FLAG 2
#define FIRST_REDIS_EPOCH 1
#endif

/* What is under a session's key */
#define NOTHING 0
#define RECORD 1
#define HOLD 2
#define LEASE 3
#define FORGED 4

/* What a request does */
#define READ 1
#define SELECT 2
#define LOGOUT 3

/* What a Redis that hung carries out after its client gave up */
#define LATE_HOLD 1
#define LATE_LEASE 2
#define LATE_REFILL 3
#define LATE_PUBLISH 4
#define LATE_DELETE 5

#define SQL(flag) ((flag) & 1) /* a flag is epoch * 2, + 1 when it says sql: so what is newer is greater */
#define EPOCH(flag) ((flag) / 2)
#define NOBODY 255
#ifdef BREAK_EPOCH /* a return to Redis begins a new epoch */
#define IS_NEWS(now, s) (now != view[s])
#else
#define IS_NEWS(now, s) (now > view[s])
#endif

/* SQL */
byte version = 1;
bool is_gone;
byte changed; /* the keys of the session that were changed, one bit for each browser */
byte locked_by = NOBODY;
byte flag = FIRST_FLAG;
byte flag_instance = 1;
bool sql_is_away;

/* Redis */
#define UP 0
#define DOWN 1
#define HUNG 2
byte redis = UP;
byte instance = 1;
byte redis_epoch = FIRST_REDIS_EPOCH; /* hf:epoch; 0: none */
byte kind_of[EPOCHS]; /* the session's key in each epoch */
byte held_by[EPOCHS]; /* whose hold or lease, or the record's version */
byte late[2], late_epoch[2], late_token[2], late_version[2]; /* of each browser's request */

/* The servers */
byte view[2] = FIRST_FLAG; /* the flag as last read */
byte view_instance[2] = 1;
bool breaker_open[2];
bool doubts[2]; /* stood still, and has not read the flag since */
bool excused[2]; /* could not be told that the epoch is over, and has not read the flag since: for a second at most */
bool poll_is_void[2];
byte cut_off = NOBODY;

/* The browsers */
byte cookie[2] = 1;
byte shown[2] = 1;
byte uncommitted[2]; /* the token of a hold whose transaction is open */
byte waiting; /* one bit for each */
byte over;    /* browsers that have made all their requests */

/* What was answered 2xx */
byte answered = 1;
bool answered_gone;
byte answered_changes;

byte unreadable;
byte faults = FAULTS;
byte pauses = PAUSES;

#define REACHES(s) (redis == UP && cut_off != s)
#ifdef BREAK_INSTANCE /* an epoch is bound to one instance */
#define USES(s, its) REACHES(s)
#else
#define USES(s, its) (REACHES(s) && instance == its)
#endif
#define CALM (redis == UP && cut_off == NOBODY && !sql_is_away)
#define IN_USE (redis == UP && !SQL(flag) && flag_instance == instance && redis_epoch == EPOCH(flag) \
  && view[0] == flag && view[1] == flag && view_instance[0] == instance && view_instance[1] == instance \
  && !breaker_open[0] && !breaker_open[1] && !doubts[0] && !doubts[1])

#ifdef BREAK_PROOF /* a record is proven */
#define LOOKS_LIKE_A_RECORD(e) (kind_of[e] == RECORD || kind_of[e] == FORGED)
#else
#define LOOKS_LIKE_A_RECORD(e) (kind_of[e] == RECORD)
#endif

/* What no server can read any more is left out: fewer states. */
#define IS_READABLE(e) ((e) >= EPOCH(view[0]) || (e) >= EPOCH(view[1]))
inline put(e, what, whose) {
  kind_of[e] = (IS_READABLE(e) -> what : NOTHING);
  held_by[e] = (IS_READABLE(e) && what != NOTHING -> whose : 0)
}
inline forget_unreadable() {
  unreadable = 1;
  do
  :: !IS_READABLE(unreadable) -> kind_of[unreadable] = NOTHING; held_by[unreadable] = 0; unreadable++
  :: else -> break
  od;
  unreadable = 0
}

/* A token that is nowhere yet. */
#define IS_TAKEN(e, mine) ((kind_of[e] == HOLD || kind_of[e] == LEASE) && held_by[e] == mine)
#define IS_USED(mine) (IS_TAKEN(1, mine) || IS_TAKEN(2, mine) || IS_TAKEN(3, mine) || IS_TAKEN(4, mine) || IS_TAKEN(5, mine) || \
  late_token[0] == mine || late_token[1] == mine)
inline make_token() {
  token = 1 + b;
  do
  :: IS_USED(token) -> token = token + 2
  :: else -> break
  od
}

/* hf:epoch is only ever raised. */
inline raise_to(number) {
  if
  :: redis_epoch < number -> redis_epoch = number
  :: else
  fi
}

/* Server s has learned of the flag `now`: it tells Redis first. Who cannot be told may believe in the old epoch until it looks. */
inline learn(s, now, its) {
  if
  :: IS_NEWS(now, s) ->
#ifndef BREAK_TOLD /* a process that learns that an epoch is over raises hf:epoch */
    if
    :: REACHES(s) -> raise_to(EPOCH(now) + SQL(now))
    :: else -> excuse()
    fi;
#endif
    view[s] = now; view_instance[s] = its; excused[s] = false; forget_unreadable()
  :: else
  fi
}

inline excuse() {
  excused[0] = excused[0] || (SQL(flag) && view[0] < flag);
  excused[1] = excused[1] || (SQL(flag) && view[1] < flag)
}

/* The scripts */
inline do_refill(e, mine, read) {
  if
#ifdef BREAK_LEASE /* a lease is taken before SQL is read, and a record written only over it */
  :: true -> put(e, RECORD, read)
#else
  :: kind_of[e] == LEASE && held_by[e] == mine -> put(e, RECORD, read)
#endif
  :: else
  fi
}

inline do_publish(e, mine, written, deletes) {
  if
#ifdef BREAK_PUBLISH_OWN /* publish replaces only one's own hold */
  :: true ->
#else
  :: kind_of[e] == HOLD && held_by[e] == mine ->
#endif
    if
    :: deletes -> put(e, NOTHING, 0)
    :: else -> put(e, RECORD, written)
    fi
#ifndef BREAK_LOST_HOLD /* a writer that lost its hold deletes a lease or a record it finds */
  :: kind_of[e] == LEASE || kind_of[e] == RECORD -> put(e, NOTHING, 0)
#endif
  :: else
  fi
}

/* A call that Redis did not take: the breaker may open; a Redis that hangs may carry it out later. */
inline fail(s, b, what, e, mine, written) {
  failed = true;
  if
#ifndef COARSE
  :: breaker_open[s] = true
#endif
  :: true
  fi;
  if
  :: redis == HUNG && cut_off != s -> late[b] = what; late_epoch[b] = e; late_token[b] = mine; late_version[b] = written
  :: true
  fi
}

#include "browser.pml"
#include "world.pml"

/* When nothing more can happen. */
proctype Judge() {
  do
  :: atomic {
      timeout ->
      if
      :: waiting || over < 2 -> printf("MSC: BROKEN every request is answered: one waits for ever\n"); assert(false)
#ifndef FOR_EVER
      :: !IN_USE -> printf("MSC: BROKEN used again: no fault is left, and Redis is not in use\n"); assert(false)
#endif
      :: else -> break
      fi
    }
  od
}

init {
  atomic {
    put(1, RECORD, 1);
    run Browser(0, REQUESTS_A); run Browser(1, REQUESTS_B);
    run Poll(0); run Poll(1); run Probe(); run Redis(); run Faults();
    run Judge()
  }
}

#ifdef LTL
ltl answered_in_the_end { [] (waiting -> <> !waiting) }
ltl used_in_the_end { <> [] IN_USE }
#endif
