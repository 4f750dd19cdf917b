/* What goes on beside the requests: polls, the probe, what lapses, what fails. Part of sessions.pml. */

/* Every server looks at the flag once a second: here, whenever that changes anything. */
#ifdef BREAK_MIRROR /* every process mirrors the epoch once a second */
#define MUST_MIRROR(s) false
#else
#define MUST_MIRROR(s) (!SQL(flag) && redis_epoch < EPOCH(flag) && USES(s, flag_instance))
#endif
#ifdef BREAK_TOLD_AGAIN /* while the flag says sql, every process raises hf:epoch at every poll */
#define MUST_TELL(s) false
#define TOLD true
#else
#define MUST_TELL(s) (SQL(flag) && redis_epoch <= EPOCH(flag) && REACHES(s))
#define TOLD (redis_epoch > EPOCH(flag))
#endif

proctype Poll(byte s) {
  byte now, its;
end:
  do
  :: atomic {
      !sql_is_away && (IS_NEWS(flag, s) || doubts[s] || (breaker_open[s] && REACHES(s)) || MUST_MIRROR(s) || MUST_TELL(s)) ->
      now = flag; its = flag_instance; poll_is_void[s] = false;
#ifndef COARSE
    }
    atomic {
#endif
      if
#ifndef BREAK_DOUBT
      :: poll_is_void[s] /* it stood still meanwhile */
#endif
      :: else ->
        learn(s, now, its);
        if
#ifndef BREAK_TOLD_AGAIN
        :: SQL(now) && REACHES(s) -> raise_to(EPOCH(now) + 1)
#endif
#ifndef BREAK_MIRROR
        :: !SQL(now) && USES(s, its) -> raise_to(EPOCH(now))
#endif
        :: else
        fi;
        if
        :: REACHES(s) -> breaker_open[s] = false
        :: else
        fi;
        doubts[s] = false;
        printf("MSC: server %d has polled: epoch %d, sql: %d\n", s, EPOCH(now), SQL(now))
      fi;
      now = 0; its = 0; poll_is_void[s] = false
    }
  od
}

/* In the worker. It is never cut off; five good probes are one step here. */
proctype Probe() {
  byte before, epoch, its;
end:
  do
#ifndef BREAK_PROBE_FALLS /* three failed probes, or another instance, set the flag to sql */
  :: atomic {
      !sql_is_away && !SQL(flag) && (redis != UP || instance != flag_instance || redis_epoch > EPOCH(flag)) ->
      flag = flag + 1; printf("MSC: the probe sets the flag to sql\n");
#ifndef BREAK_TOLD
      if
      :: redis == UP -> raise_to(EPOCH(flag) + 1)
      :: else -> excuse()
      fi
#endif
    }
#endif
#ifndef BREAK_RETURN
  :: atomic {
      !sql_is_away && SQL(flag) && CALM && !breaker_open[0] && !breaker_open[1] ->
      before = flag; its = instance;
#ifdef BREAK_EPOCH
      epoch = EPOCH(flag); redis_epoch = epoch;
#else
      epoch = (redis_epoch > EPOCH(flag) -> redis_epoch : EPOCH(flag) + 1);
#ifndef BREAK_RETURN_TOLD /* the return raises hf:epoch before anybody uses the new epoch */
      redis_epoch = epoch;
#endif
#endif
      assert(epoch < EPOCHS)
    }
    atomic {
      if
      :: !sql_is_away && flag == before ->
        flag = epoch * 2; flag_instance = its; excused[0] = false; excused[1] = false;
        printf("MSC: the probe begins epoch %d\n", epoch)
      :: else
      fi;
      before = 0; epoch = 0; its = 0
    }
#endif
  od
}

#define LAPSES(e) (kind_of[e] == LEASE || kind_of[e] == RECORD || \
  (kind_of[e] == HOLD && held_by[e] != uncommitted[0] && held_by[e] != uncommitted[1]))

/* What lapses, and what Redis carries out late. */
proctype Redis() {
  byte e, b;
end:
  do
  :: atomic {
      redis == UP && (LAPSES(EPOCH(view[0])) || LAPSES(EPOCH(view[1]))) ->
      if
      :: LAPSES(EPOCH(view[0])) -> e = EPOCH(view[0])
      :: LAPSES(EPOCH(view[1])) -> e = EPOCH(view[1])
      fi;
      printf("MSC: the key lapses in epoch %d\n", e); put(e, NOTHING, 0); e = 0
    }
  :: atomic {
      redis == UP && (late[0] || late[1]) ->
      if
      :: late[0] -> b = 0
      :: late[1] -> b = 1
      fi;
      e = late_epoch[b];
      if
      :: late[b] == LATE_HOLD -> put(e, HOLD, late_token[b])
      :: late[b] == LATE_LEASE -> if :: kind_of[e] == NOTHING -> put(e, LEASE, late_token[b]) :: else fi
      :: late[b] == LATE_REFILL -> do_refill(e, late_token[b], late_version[b])
      :: late[b] == LATE_PUBLISH -> do_publish(e, late_token[b], late_version[b], false)
      :: late[b] == LATE_DELETE -> do_publish(e, late_token[b], 0, true)
      fi;
      printf("MSC: Redis carries out what browser %d's request gave up\n", b);
      late[b] = 0; late_epoch[b] = 0; late_token[b] = 0; late_version[b] = 0; e = 0; b = 0
    }
  od
}

inline forget_late() {
  late[0] = 0; late_epoch[0] = 0; late_token[0] = 0; late_version[0] = 0;
  late[1] = 0; late_epoch[1] = 0; late_token[1] = 0; late_version[1] = 0
}

/* A Redis that restarts is another instance; with an old snapshot it has the number and the records of any earlier time. */
inline restart() {
  redis = UP; instance++; redis_epoch = 0; e = 1;
  do
  :: e < EPOCHS -> put(e, NOTHING, 0); e++
  :: else -> break
  od;
  e = 0;
  if
  :: true
  :: was_epoch > 0 -> redis_epoch = 1; put(1, RECORD, 1)
  :: was_epoch > 0 && EPOCH(flag) > 1 -> redis_epoch = was_epoch; put(EPOCH(flag), RECORD, 1)
  :: was_epoch > 0 && version > 1 -> redis_epoch = was_epoch; put(EPOCH(flag), RECORD, version - 1)
  fi
}

/* One fault at a time: the next one begins when the one before is over and Redis is in use again. */
proctype Faults() {
  byte e, was_epoch;
end:
  do
  :: atomic {
      faults > 0 && IN_USE && CALM && over < 2 ->
      if
      :: WITH(EVICTION) -> redis_epoch = 0; printf("MSC: Redis loses hf:epoch\n")
      :: WITH(EVICTION) && kind_of[EPOCH(flag)] == HOLD -> put(EPOCH(flag), NOTHING, 0); printf("MSC: Redis loses the hold\n")
      :: WITH(EVICTION) -> redis_epoch = 0; put(EPOCH(flag), NOTHING, 0); printf("MSC: Redis loses everything\n")
      :: WITH(CRASH) -> was_epoch = redis_epoch; redis = DOWN; forget_late(); printf("MSC: Redis crashes\n")
      :: WITH(HANG) -> redis = HUNG; printf("MSC: Redis hangs\n")
      :: WITH(CUT) -> cut_off = 0; printf("MSC: server 0 is cut off from Redis\n")
      :: WITH(CUT) -> cut_off = 1; printf("MSC: server 1 is cut off from Redis\n")
      :: WITH(SQL_AWAY) -> sql_is_away = true; printf("MSC: SQL is away\n")
      :: WITH(FORGERY) -> put(EPOCH(flag), FORGED, 99); printf("MSC: somebody forges a record\n")
      fi;
      faults--
    }
#ifndef FOR_EVER /* the fault never ends: only that every request is answered */
  :: atomic { redis == DOWN -> restart(); was_epoch = 0; printf("MSC: Redis is back, as another instance: hf:epoch %d\n", redis_epoch) }
  :: atomic { redis == HUNG -> redis = UP; printf("MSC: Redis goes on\n") }
  :: atomic { cut_off != NOBODY -> cut_off = NOBODY; printf("MSC: nobody is cut off any more\n") }
  :: atomic { sql_is_away -> sql_is_away = false; printf("MSC: SQL is back\n") }
#endif
  :: atomic { /* noticed: the process knows that it stood still */
      pauses > 0 && over < 2 -> pauses--;
      if
      :: e = 0
      :: e = 1
      fi;
      doubts[e] = true; poll_is_void[e] = true; excused[e] = false; printf("MSC: server %d stood still and knows it\n", e); e = 0
    }
  :: atomic { /* not noticed, as on a host that stops: a second later the others have told Redis */
      pauses > 0 && CALM && over < 2 && SQL(flag) && (view[0] == flag || view[1] == flag) && TOLD -> pauses--;
      excused[0] = false; excused[1] = false; printf("MSC: whoever has not looked at the flag stood still without knowing it\n")
    }
  od
}
