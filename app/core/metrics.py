"""What the running system counts, for Prometheus and for operators."""

import os
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

# Restore targets are 10 ms at p99 with an alert at 50 ms, so those are edges; the rest shows how far off it is.
RESTORE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
# Several web processes share their figures through files in a directory of this name (see `holdfast web`).
SHARED_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """One registry and all of its instruments. Labels are sets of fixed words, never ids."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.restores = self._counter(
            "restores", "Attempts to restore a deal: restored, only_deal, refused_deleted, refused_revoked, none, error", "outcome"
        )
        self.restore_seconds = Histogram(
            "holdfast_restore_seconds", "Time an attempt to restore took", buckets=RESTORE_BUCKETS, registry=self.registry
        )
        self.selections = self._counter("selections", "Selections of a deal: selected, refused", "outcome")
        self.uses_redis = self._gauge("session_backend_redis", "1 while this process reads sessions from Redis")
        self.clock_skew = self._gauge("clock_skew_seconds", "How far this machine's clock and the database's are apart")
        self.breaker_open = self._gauge("breaker_open", "1 while this process leaves Redis alone")
        self.breaker_opened = self._counter(
            "breaker_opened", "Times this process left Redis alone: silent, no_connection, refused, slow", "reason"
        )
        self.redis_faults = self._counter(
            "redis_faults", "Calls of Redis that failed: silent, no_connection, refused, another_instance, broken", "kind"
        )
        self.session_reads = self._counter(
            "session_reads", "Session reads by what answered: redis, sql, gone, unknown, damaged, redis_failed", "by"
        )
        self.login_cookies_unreadable = self._counter("login_cookies_unreadable", "Login cookies that no key of this site has signed")
        self.session_writes = self._counter("session_writes", "Session writes: committed, conflict", "outcome")
        self.session_claims = self._counter("session_claims", "Writes Redis did not go along with: hold_failed, publish_failed", "outcome")
        self.session_saves_dropped = self._counter("session_saves_dropped", "Session changes that could not be kept, by reason", "reason")
        self.unexpected = self._counter(
            "sessions_unexpected", "What may never be: version_stays, behind_redis, hold_outlived, epoch_fell", "what"
        )
        self.backend_flips = self._counter("backend_flips", "Changes of the session backend, by the new one: redis, sql", "to")
        self.backend_unannounced = self._counter("backend_untold", "Ends of an epoch that Redis could not be told")
        self.security_events = self._counter(
            "security_events",
            "Refusals that an attack would show in: cross_site, forbidden, link_refused, not_signed_in, quota, rate_limited, "
            "sign_in_failed, sign_in_slowed, too_large, unknown_host",
            "kind",
        )
        self.standstills = self._counter("standstills", "Times a process stood still for longer than a poll, and doubted what it knew")
        self.event_streams = Gauge("holdfast_event_streams", "Event streams open now", registry=self.registry, multiprocess_mode="livesum")
        self.connections_refused = self._counter(
            "connections_refused", "Connections refused or closed before the application saw their request, by reason", "reason"
        )
        self.requests_shed = self._counter(
            "requests_shed", "Requests answered 503 at once, since there were more than the process can serve"
        )
        self.http_requests = self._counter(
            "http_requests", "Requests by method and class of status: 2xx, 3xx, 4xx, 5xx", "method", "status"
        )

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"holdfast_{name}", documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str) -> Gauge:
        """Over several processes, one of which may see what the others do not: the highest."""
        return Gauge(f"holdfast_{name}", documentation, registry=self.registry, multiprocess_mode="livemax")

    def render(self, also: Iterable[Metric] = ()) -> bytes:
        """Everything counted so far in Prometheus' text format, over all web processes where there are several; then `also`."""
        if not os.environ.get(SHARED_DIRECTORY):
            return generate_latest(self.registry) + generate_latest(_FixedCollector(also))
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return generate_latest(shared) + generate_latest(_FixedCollector(also))


class _FixedCollector(Collector):
    """Families that are there already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


METRICS = Metrics()
