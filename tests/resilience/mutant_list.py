"""What is switched off, where, and the test that must see it."""

from typing import NamedTuple

FAULTS, FAILOVER = "tests/resilience/test_faults_sql.py", "tests/resilience/test_failover.py"

RACES, PROTOCOL = "tests/resilience/test_races.py", "tests/integration/test_session_protocol.py"

PAUSES = "tests/integration/test_session_pauses.py"

ORDERS, ACCESS = "tests/integration/test_session_orders.py", "tests/integration/test_access_orders.py"


class Mutant(NamedTuple):
    """`was` stands once in `path` and becomes `becomes`; then `test` fails."""

    mechanism: str
    path: str
    was: str
    becomes: str
    test: str


MUTANTS = [
    Mutant(
        "the end of an epoch is told again at every poll",
        "app/sessions/poll.py",
        'if flag.mode == "sql" and backend.view.instance:',
        "if False:",
        f"{PAUSES}::test_an_end_that_could_not_be_told_is_told_when_redis_answers",
    ),
    Mutant(
        "who stood still doubts what it knew",
        "app/sessions/backend.py",
        "return None if self.in_doubt else self.flag.epoch",
        "return self.flag.epoch",
        f"{PAUSES}::test_who_stood_still_looks_at_the_flag_before_it_trusts_redis",
    ),
    Mutant(
        "the place of the keys is part of the instance",
        "app/core/redis_keys.py",
        'return run_id + (f"/{database}" if database else "") + (f":{self.prefix}" if self.prefix else "")',
        "return run_id",
        "tests/integration/test_two_installations.py::test_processes_that_disagree_about_the_names_use_no_redis_and_serve_nothing_old",
    ),
    Mutant(
        "a write that stood still asks before it claims",
        "app/sessions/manager.py",
        "            await self.backend.resolve_doubt()\n            holds = WriteHolds(self.backend, [loaded.token_hash])",
        "            holds = WriteHolds(self.backend, [loaded.token_hash])",
        f"{PAUSES}::test_a_write_after_a_standstill_leaves_redis_in_use",
    ),
    Mutant(
        "hold",
        "app/sessions/holds.py",
        "self._holds |= await self.backend.redis.within(self._epoch).hold(token_hashes)",
        "pass",
        f"{PROTOCOL}::test_readers_ask_sql_while_a_writer_holds",
    ),
    Mutant(
        "the commit waits for the hold",
        "app/sessions/holds.py",
        "        await self.ready()\n        if read_stopwatch()",
        "        if read_stopwatch()",
        "tests/resilience/test_crash_points.py",
    ),
    Mutant(
        "holds are taken again under the row lock",
        "app/sessions/holds.py",
        "        await self._take(list(token_hashes))",
        "",
        f"{PROTOCOL}::test_a_write_that_overtakes_a_logout_is_not_published_after_it",
    ),
    Mutant(
        "lease",
        "app/sessions/redis_store.py",
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end",
        "",
        f"{PROTOCOL}::test_a_slow_reader_does_not_revive_what_was_written_meanwhile",
    ),
    Mutant(
        "publish leaves another writer's hold alone",
        "app/sessions/redis_store.py",
        "if now == ARGV[1] then",
        "if true then",
        f"{PROTOCOL}::test_another_writers_hold_is_left_to_that_writer",
    ),
    Mutant(
        "a writer that lost its hold clears what it finds",
        "app/sessions/redis_store.py",
        "if now and string.sub(now, 1, 1) ~= 'H' then redis.call('DEL', KEYS[1]) end",
        "",
        f"{PROTOCOL}::test_a_writer_whose_hold_is_gone_clears_what_it_finds",
    ),
    Mutant(
        "fence",
        "app/sessions/sql_store.py",
        "holds = _fence(dialect) if is_fenced else true()",
        "holds = true()",
        f"{FAILOVER}::test_write_that_began_before_the_return",
    ),
    Mutant(
        "epoch",
        "app/sessions/backend.py",
        "max(known.epoch, floor) + 1",
        "max(known.epoch, 1)",
        f"{FAILOVER}::test_changed_during_the_outage",
    ),
    Mutant(
        "run id",
        "app/core/redis.py",
        "if expected and found and found != expected:",
        "if False:",
        f"{FAILOVER}::test_restarted_from_an_old_snapshot",
    ),
    Mutant(
        "the flag falls with the write",
        "app/sessions/holds.py",
        "            await self.backend.flip_down(db, self.fence, self.fault or self.backend.redis_fault)",
        "            pass",
        f"{FAILOVER}::test_one_of_three_servers_is_cut_off",
    ),
    Mutant(
        "Redis is told that an epoch is over",
        "app/sessions/backend.py",
        '                await self.redis.raise_epoch_floor(flag.epoch + (flag.mode == "sql"), self.probe, limit=ANNOUNCE_LIMIT)',
        "                pass",
        f"{FAILOVER}::test_fall_is_told_before_the_change_is_answered",
    ),
    Mutant(
        "told before the change is answered",
        "app/sessions/holds.py",
        "            await self.backend.announce_failover(self.fence)",
        "            self.backend.poll_now()",
        f"{FAILOVER}::test_fall_is_told_before_the_change_is_answered",
    ),
    Mutant(
        "it is told although the request has no time left",
        "app/sessions/holds.py",
        "        ensure_time_budget(COMMIT_SECONDS)",
        "",
        f"{ORDERS}::test_what_is_committed_is_told_although_the_request_has_no_time_left",
    ),
    Mutant(
        "Redis that failed a request is not asked by it again",
        "app/sessions/holds.py",
        "if notes_of_request().redis_failed else",
        "if False else",
        f"{ORDERS}::test_redis_that_failed_a_request_is_not_asked_by_its_bulk_change_either",
    ),
    Mutant(
        "an epoch begins from the flag that was read",
        "app/sessions/backend.py",
        "SessionBackend.mode == known.mode, SessionBackend.epoch == known.epoch",
        "SessionBackend.mode == self.flag.mode, SessionBackend.epoch == self.flag.epoch",
        f"{ORDERS}::test_of_two_that_begin_an_epoch_the_late_one_does_not_begin_it_again",
    ),
    Mutant(
        "a Redis that knows a newer epoch than SQL is left",
        "app/sessions/poll.py",
        "raise_epoch_floor(flag.epoch, backend.probe) > flag.epoch:",
        "raise_epoch_floor(flag.epoch, backend.probe) > 10**12:",
        f"{ORDERS}::test_a_redis_that_knows_a_newer_epoch_than_sql_gets_a_newer_one_still",
    ),
    Mutant(
        "sessions are locked before their tokens are read",
        "app/sessions/manager.py",
        "in await fetch(db, matched.lock, **values)}",
        "in await fetch(db, matched.rows, **values)}",
        f"{ORDERS}::test_a_bulk_change_that_waited_for_a_rotate_reaches_the_new_token",
    ),
    Mutant(
        "sessions are locked in one order",
        "app/sessions/manager.py",
        "            await _lock_logins(db, concerned, NO_VALUES)",
        "",
        f"{ACCESS}::test_changing_the_password_and_a_bulk_change_lock_sessions_in_one_order",
    ),
    Mutant(
        "a bulk change tells the browser that made it",
        "app/sessions/interface.py",
        "            session.committed_version = max(changed, session.committed_version or 0)",
        "            pass",
        f"{ACCESS}::test_a_change_of_many_sessions_is_seen_by_the_browser_that_made_it",
    ),
    Mutant(
        "a card is as it was read, with its end",
        "app/access/access_lock.py",
        "and_(Member.role == role, _ends(ends)) if granted",
        "Member.role == role if granted",
        f"{ACCESS}::test_a_grant_that_is_shortened_while_its_deal_is_selected",
    ),
    Mutant(
        "a card is as it was read, with its name",
        "app/access/access_lock.py",
        'Deal.name == bindparam("deal_name"), ',
        "",
        f"{ACCESS}::test_a_deal_that_is_renamed_while_it_is_selected",
    ),
    Mutant(
        "an instance that is no more need not take leave",
        "app/core/redis.py",
        "    except Exception as error:  # an instance that is no more cannot close its connections",
        "    except ValueError as error:",
        f"{ORDERS}::test_leaving_an_instance_that_does_not_answer_fails_no_request",
    ),
    Mutant(
        "version in the cookie",
        "app/sessions/manager.py",
        "seen.entry.version >= cookie_version and ",
        "",
        f"{PROTOCOL}::test_a_browser_never_sees_less_than_its_cookie_says",
    ),
    Mutant(
        "pauses before a return",
        "worker/probe.py",
        "PAUSES = (1, 3, 6)",
        "PAUSES = (1, 1, 1)",
        "tests/integration/test_probe.py::test_returns_that_do_not_last_wait_10_30_60_seconds",
    ),
    Mutant(
        "breaker",
        "app/core/breaker.py",
        "FAILURES_TO_OPEN = 3",
        "FAILURES_TO_OPEN = 10**9",
        "tests/resilience/test_faults_redis.py::test_who_only_reads_soon_stops_asking",
    ),
    Mutant(
        "compare-and-set",
        "app/sessions/sql_store.py",
        'Session.login_id == _LOGIN_ID, Session.version == bindparam("proof"), ',
        "Session.login_id == _LOGIN_ID, ",
        "tests/integration/test_read_your_writes.py",
    ),
    Mutant(
        "a request's one limit for the database",
        "app/core/database.py",
        "async with asyncio.timeout(budget.left if budget else None) as limit:",
        "async with asyncio.timeout(None) as limit:",
        f"{FAULTS}::test_pool_exhausted",
    ),
    Mutant(
        "SQL is asked before a hold is taken",
        "app/sessions/manager.py",
        "                await self.database.ping()",
        "                pass",
        f"{FAULTS}::test_what_cannot_be_written_hides_nothing",
    ),
    Mutant(
        "a lost race is tried again",
        "app/core/database.py",
        'if getattr(error.orig, "sqlstate", None) in (_SERIALIZATION_FAILURE, _DEADLOCK):',
        "if False:",
        f"{FAULTS}::test_serialization_failure_is_tried_again",
    ),
    Mutant(
        "a late writer goes on in its own transaction",
        "app/sessions/manager.py",
        "            anew = self._plan(_as_loaded(token_hash, await sessions.read(token_hash, lock=True)), change)",
        "            anew = None",
        f"{PROTOCOL}::test_a_late_writer_goes_on_in_its_own_transaction",
    ),
    Mutant(
        "a connection the server closed is not handed out",
        "app/core/postgresql.py",
        "if driver.has_served:",
        "if False:",
        f"{FAULTS}::test_connections_terminated",
    ),
    Mutant(
        "a look that met a closed connection is taken again",
        "app/core/postgresql.py",
        "return ended and driver.has_served",
        "return False and driver.has_served",
        "tests/surroundings/test_connections_ended.py::test_a_goodbye_on_its_way_costs_nobody_anything",
    ),
    Mutant(
        "a full disk is called one",
        "app/core/database_faults.py",
        "if codes & _STORAGE_FULL:",
        "if False:",
        f"{FAULTS}::test_disk_full",
    ),
    Mutant(
        "limits go with each transaction through a pooler",
        "app/core/postgresql.py",
        'if query.startswith("BEGIN"):',
        "if False:",
        "tests/surroundings/test_pgbouncer.py::test_the_limits_are_those_of_every_transaction",
    ),
    Mutant(
        "statements have no name through a pooler",
        "app/core/postgresql.py",
        'return self.mode == "direct" or self.target.pooler == "session"',
        "return True",
        "tests/surroundings/test_pgbouncer.py::test_the_limits_are_those_of_every_transaction",
    ),
    Mutant(
        "a pooler that swallows limits is found out",
        "app/core/postgresql.py",
        "return bool(pid != connection.get_server_pid() or",
        "return bool(False and",
        "tests/surroundings/test_pgbouncer.py::test_a_pooler_that_swallows_limits_is_found_out",
    ),
    Mutant(
        "who cannot be served in time is refused at once",
        "app/core/database_admission.py",
        "> within and ahead:",
        "> within + 3600 and ahead:",
        "tests/unit/test_admission.py::test_who_cannot_be_served_in_time_is_refused_at_once",
    ),
    Mutant(
        "a read-only database is not ready",
        "app/core/database.py",
        "        if not writable:\n",
        "        if False:\n",
        "tests/surroundings/test_read_only.py::test_a_file_that_may_not_be_written",
    ),
    Mutant(
        "rows that give access are locked",
        "app/access/access_lock.py",
        "    return statement.with_for_update(read=True, of=locked)",
        "    return statement",
        f"{RACES}::test_select_against_revoke",
    ),
    Mutant(
        "a restore is an insert if absent",
        "app/current_deal/restore.py",
        "        if has_deal(data, to_unix_ms(now)):\n"
        '            return None if user_card(data) else data | {"user": self.candidate.user}\n',
        "",
        f"{RACES}::test_parallel_first_requests_of_an_expired_session",
    ),
    Mutant(
        "from the commit on a write goes on",
        "app/sessions/manager.py",
        "return await asyncio.shield(task)",
        "return await task",
        f"{PROTOCOL}::test_a_write_of_a_cancelled_request_goes_on_to_its_end",
    ),
    Mutant(
        "only gone, which SQL alone can say, is a 401",
        "app/sessions/manager.py",
        "            return Loaded(Outcome.UNKNOWN, token_hash)",
        "            return Loaded(Outcome.GONE, token_hash)",
        f"{FAULTS}::test_both_away",
    ),
]
