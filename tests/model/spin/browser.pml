/* A browser's requests, each answered by one of the servers. Part of sessions.pml. */

#ifdef BREAK_FENCE
#define KNOWS_THE_FLAG (!SQL(saw_view))
#else
#define KNOWS_THE_FLAG true
#endif
#define MAY_DIE (faults > 0 && WITH(KILL))
#define die() faults--; printf("MSC: server %d is killed while it answers browser %d, and starts again\n", s, b); goto dead

proctype Browser(byte b; byte requests) {
  byte s, kind, tries, held_epoch, hold_instance, token, row, row_changed, wrote, saw_view;
  byte before, before_shown;
  bool before_gone, gone, has_hold, has_lease, failed, was_excused, has_lock;

next:
  atomic {
    if
    :: requests == 0 -> over++; goto done
    :: else -> requests--
    fi;
    if
    :: s = 0
    :: b == 1 || requests < REQUESTS_A - 1 -> s = 1 /* the servers are alike: the very first request goes to server 0 */
    fi;
    if
    :: DOES(b, READ) -> kind = READ
    :: DOES(b, SELECT) -> kind = SELECT
    :: DOES(b, LOGOUT) -> kind = LOGOUT
    fi;
    before = answered; before_gone = answered_gone; before_shown = shown[b]; waiting = waiting | (1 << b);
    printf("MSC: browser %d asks server %d, request %d; its cookie says version %d\n", b, s, kind, cookie[b]);
    if
    :: kind == READ -> goto read
    :: else -> goto first_try
    fi
  }

read:
  atomic {
    if
#ifdef BREAK_DOUBT /* a process that stood still asks SQL until it has read the flag */
    :: SQL(view[s]) || breaker_open[s] -> goto read_sql
#else
    :: SQL(view[s]) || breaker_open[s] || doubts[s] -> goto read_sql
#endif
    :: else
    fi;
#ifdef BREAK_DEADLINE /* a call gives up after REDIS_TIMEOUT_SECONDS */
    redis != HUNG;
#endif
    if
    :: !USES(s, view_instance[s]) -> fail(s, b, 0, 0, 0, 0); goto read_sql
    :: else
    fi;
    held_epoch = EPOCH(view[s]);
    if
    :: redis_epoch != held_epoch -> /* another epoch, or none: SQL serves, and the flag is looked at */
      if
      :: !sql_is_away -> learn(s, flag, flag_instance)
      :: else
      fi;
      goto read_sql
#ifdef BREAK_COOKIE /* a record older than the cookie is not served */
    :: else -> if :: LOOKS_LIKE_A_RECORD(held_epoch) ->
#else
    :: else -> if :: LOOKS_LIKE_A_RECORD(held_epoch) && held_by[held_epoch] >= cookie[b] ->
#endif
      row = held_by[held_epoch]; was_excused = excused[s];
      printf("MSC: server %d finds the record of version %d in Redis, epoch %d\n", s, row, held_epoch);
      goto answer_read
      :: else -> if
        :: kind_of[held_epoch] == NOTHING -> goto lease
        :: else -> goto read_sql
        fi
      fi
    fi
  }
lease:
  atomic {
    make_token();
#ifdef BREAK_DEADLINE
    redis != HUNG;
#endif
    if
    :: !USES(s, view_instance[s]) -> fail(s, b, LATE_LEASE, held_epoch, token, 0)
    :: else -> if
      :: kind_of[held_epoch] == NOTHING -> put(held_epoch, LEASE, token); has_lease = true;
        hold_instance = view_instance[s];
        printf("MSC: server %d takes the lease for browser %d\n", s, b)
      :: else
      fi
    fi
  }
read_sql:
  atomic {
    if
    :: sql_is_away ->
#ifdef BREAK_UNKNOWN /* what nobody could say is not called gone */
      gone = true; goto answer_read
#else
      printf("MSC: server %d answers browser %d 503: nobody could say\n", s, b); goto dead
#endif
    :: else
    fi;
    row = version; gone = is_gone;
    printf("MSC: server %d reads version %d (gone: %d) from SQL for browser %d\n", s, row, gone, b);
    if
    :: has_lease && !gone
    :: else -> goto answer_read
    fi
  }
refill:
  atomic {
    if
    :: MAY_DIE -> die()
    :: true
    fi;
#ifdef BREAK_DEADLINE
    redis != HUNG;
#endif
    if
    :: USES(s, hold_instance) -> do_refill(held_epoch, token, row); printf("MSC: server %d refills version %d, epoch %d\n", s, row, held_epoch)
    :: else -> fail(s, b, LATE_REFILL, held_epoch, token, row)
    fi
  }
answer_read:
  atomic {
    if
    :: gone ->
      printf("MSC: server %d answers browser %d that the session is gone\n", s, b);
      if
      :: !is_gone -> printf("MSC: BROKEN three outcomes: gone, though SQL did not say so\n"); assert(false)
      :: else
      fi
    :: else ->
      printf("MSC: server %d shows browser %d version %d\n", s, b, row);
      if
      :: row > version -> printf("MSC: BROKEN no thin air: nobody committed version %d\n", row); assert(false)
      :: row < cookie[b] -> printf("MSC: BROKEN read your writes: the browser wrote version %d\n", cookie[b]); assert(false)
      :: before_gone && !was_excused -> printf("MSC: BROKEN no ghost: the session was signed out before the request began\n"); assert(false)
      :: row < before && !was_excused -> printf("MSC: BROKEN no ghost: version %d was answered before the request began\n", before); assert(false)
      :: row < before_shown && !was_excused ->
        printf("MSC: BROKEN read your writes: the browser was shown version %d\n", before_shown); assert(false)
      :: else
      fi;
      if
      :: row > shown[b] -> shown[b] = row
      :: else
      fi
    fi;
    goto dead
  }

first_try: /* An ordinary change begins from the row as the request read it. */
  atomic {
    if
    :: sql_is_away -> printf("MSC: server %d answers browser %d 503\n", s, b); goto dead
    :: is_gone -> gone = true; goto answer_read
    :: else -> row = version; row_changed = changed
    fi
  }
hold:
  atomic {
    has_hold = false; saw_view = view[s];
#ifndef BREAK_DOUBT
    if
    :: doubts[s] && !sql_is_away -> learn(s, flag, flag_instance); doubts[s] = false; saw_view = view[s]
    :: else
    fi;
#endif
    held_epoch = EPOCH(saw_view); hold_instance = view_instance[s];
    if
    :: SQL(saw_view) || failed || breaker_open[s] -> goto held
    :: else
    fi;
    make_token(); uncommitted[b] = token;
#ifdef BREAK_COMMIT_WAITS /* the commit waits for the hold */
    has_hold = true; goto held;
#endif
#ifdef BREAK_DEADLINE
    redis != HUNG;
#endif
    if
    :: USES(s, hold_instance) -> put(held_epoch, HOLD, token); has_hold = true;
      printf("MSC: server %d holds the key in epoch %d for browser %d\n", s, held_epoch, b)
    :: else -> fail(s, b, LATE_HOLD, held_epoch, token, 0); printf("MSC: server %d gets no hold for browser %d\n", s, b)
    fi
  }
held:
  /* A change of many sessions, and one that is tried again, lock the row and take the hold again under the lock. */
  atomic {
    if
    :: has_lock || (kind == SELECT && tries == 0) -> goto commit
    :: else -> (locked_by == NOBODY || sql_is_away);
      if
      :: sql_is_away -> printf("MSC: server %d answers browser %d 503\n", s, b); goto dead
      :: is_gone -> gone = true; uncommitted[b] = 0; goto answer_read
      :: else -> locked_by = b; has_lock = true; row = version; row_changed = changed;
        printf("MSC: server %d locks the row, version %d, for browser %d\n", s, row, b)
      fi;
#ifdef BREAK_HELD_AGAIN /* it takes the holds again once it has the row locks */
      goto commit
#else
      goto hold
#endif
    fi
  }
commit:
  atomic {
    if
    :: MAY_DIE -> die()
    :: true
    fi;
    (locked_by == NOBODY || locked_by == b || sql_is_away);
#ifdef BREAK_ANSWER_LAST /* a change is answered once it is committed */
    if
    :: sql_is_away -> wrote = version + 1; goto answer_write
    :: else
    fi;
#endif
    if
    :: sql_is_away -> printf("MSC: server %d answers browser %d 503\n", s, b); goto dead
    :: else
    fi;
#ifndef BREAK_FENCE /* every write checks the flag in its own transaction */
    if
    :: flag != saw_view && (has_hold || !SQL(flag)) -> /* decided on what is no more: decide again */
      printf("MSC: server %d finds another flag (epoch %d, sql: %d)\n", s, EPOCH(flag), SQL(flag));
      learn(s, flag, flag_instance); goto hold
    :: else
    fi;
#endif
    if
    :: is_gone -> gone = true; uncommitted[b] = 0; goto answer_read
#ifndef BREAK_COMPARE /* compare-and-set on the version */
    :: !is_gone && row != version -> printf("MSC: browser %d lost a race\n", b);
      tries++;
      if
      :: tries > TRIES -> printf("MSC: server %d answers browser %d 503\n", s, b); goto dead
      :: else -> goto hold
      fi
#endif
    :: else
    fi;
#ifndef BREAK_FLIP /* a writer without a hold flips the flag in its own transaction */
    if
    :: !has_hold && !SQL(flag) && KNOWS_THE_FLAG -> flag = flag + 1; printf("MSC: the flag falls to sql with the change of browser %d\n", b)
    :: else
    fi;
#endif
    version++; wrote = version;
    if
    :: kind == LOGOUT -> is_gone = true
    :: else -> changed = row_changed | (1 << b)
    fi;
    if
    :: has_lock -> locked_by = NOBODY; has_lock = false
    :: else
    fi;
    uncommitted[b] = 0;
    printf("MSC: server %d commits version %d (gone: %d) for browser %d\n", s, wrote, is_gone, b)
  }
#ifdef BREAK_COMMIT_WAITS
  atomic {
    if
    :: has_hold && USES(s, hold_instance) -> put(held_epoch, HOLD, token)
    :: else
    fi
  }
#endif
publish:
  atomic {
    if
    :: MAY_DIE -> die()
    :: true
    fi;
    if
    :: !has_hold -> goto tell
    :: else
    fi;
#ifdef BREAK_DEADLINE
    redis != HUNG;
#endif
    if
    :: USES(s, hold_instance) -> do_publish(held_epoch, token, wrote, kind == LOGOUT);
      printf("MSC: server %d publishes version %d, epoch %d\n", s, wrote, held_epoch); goto answer_write
    :: else -> fail(s, b, (kind == LOGOUT -> LATE_DELETE : LATE_PUBLISH), held_epoch, token, wrote);
      printf("MSC: server %d cannot publish version %d\n", s, wrote)
    fi
  }
flip: /* in a transaction of its own (needed where an eviction meets the failed publish: a second fault); if SQL is away too, that is a second fault, and the request waits for its end */
  atomic {
    !sql_is_away;
    if
    :: flag == held_epoch * 2 -> flag = flag + 1; printf("MSC: the flag falls to sql after the publish of browser %d failed\n", b)
    :: else
    fi
  }
tell:
  atomic {
    if
    :: flag > saw_view && !sql_is_away -> learn(s, flag, flag_instance)
    :: else
    fi
  }
answer_write:
  atomic {
    printf("MSC: server %d answers browser %d: done, version %d\n", s, b, wrote);
    if
    :: wrote > answered -> answered = wrote
    :: else
    fi;
    if
    :: wrote > cookie[b] -> cookie[b] = wrote
    :: else
    fi;
    if
    :: wrote > shown[b] -> shown[b] = wrote
    :: else
    fi;
    if
    :: kind == LOGOUT -> answered_gone = true
    :: else -> answered_changes = answered_changes | (1 << b)
    fi;
    if
    :: version < wrote || (answered_gone && !is_gone) -> printf("MSC: BROKEN durable: SQL has version %d\n", version); assert(false)
    :: !is_gone && (changed & answered_changes) != answered_changes ->
      printf("MSC: BROKEN no lost update: a key that was changed is as it was before\n"); assert(false)
    :: else
    fi
  }
dead: /* the request is over, for whatever reason; what it holds in Redis lapses */
  atomic {
    if
    :: locked_by == b -> locked_by = NOBODY
    :: else
    fi;
    uncommitted[b] = 0; waiting = waiting & ~(1 << b);
    s = 0; kind = 0; tries = 0; held_epoch = 0; hold_instance = 0; token = 0; row = 0; row_changed = 0; wrote = 0; saw_view = 0;
    before = 0; before_shown = 0; before_gone = false; gone = false; has_hold = false; has_lease = false; failed = false;
    was_excused = false; has_lock = false;
    goto next
  }
done:
  skip
}
