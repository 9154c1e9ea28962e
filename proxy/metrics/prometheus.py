"""Turns a snapshot into Prometheus metrics: RDS Proxy's set, and what an operator misses in it.

The names are RDS Proxy's CloudWatch names in Prometheus spelling; ``docs/operations.md`` has the
table. Nothing is kept between scrapes but which pools have series of their own, so the relay never
touches a metrics library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from proxy.metrics.counters import BUCKET_BOUNDS_S
from proxy.metrics.snapshot import EndpointSnapshot, PoolSnapshot, Snapshot, TargetSnapshot

if TYPE_CHECKING:
    from proxy.metrics.counters import Histogram
    from proxy.metrics.snapshot import SnapshotSource

MAX_LABELLED_POOLS: Final = 100
"""Pools whose series carry their database and user; the others share one series per target."""

OTHER: Final = "other"
"""Database and user of the series that the remaining pools share."""

SAMPLES_IN_A_PIECE: Final = 100
"""Samples rendered without a break: a millisecond or two of the event loop."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]
Pools = dict[Labels, list[PoolSnapshot]]
"""Pools by the labels of the series they add to."""

ENDPOINT_LABELS: Final = ("proxy", "endpoint", "target_role")
TARGET_LABELS: Final = ("proxy", "target", "target_role")
POOL_LABELS: Final = ("proxy", "target", "target_role", "database", "user")

Row = tuple[str, str, Callable[[EndpointSnapshot], int]]
ENDPOINT_FAMILIES: Final[tuple[Row, ...]] = (
    ("client_connections", "Client connections open now", lambda e: e.counters.clients),
    ("client_connections_tls", "Open now, with TLS", lambda e: e.counters.clients_tls),
    ("client_connections_no_tls", "Open now, without TLS", lambda e: e.counters.clients_no_tls),
    ("client_connections_received_total", "Accepted", lambda e: e.counters.clients_received),
    (
        "client_connections_setup_succeeded_total",
        "Client logins that succeeded",
        lambda e: e.counters.setup_succeeded,
    ),
    (
        "client_connections_setup_failed_auth_total",
        "Client logins turned away for TLS, user or password",
        lambda e: e.counters.setup_failed_auth,
    ),
    (
        "client_connections_setup_failed_other_total",
        "Client logins that failed for another reason",
        lambda e: e.counters.setup_failed_other,
    ),
)
"""Name after ``tidegate_``, help, value; a name that ends in ``_total`` is a counter's."""

TargetRow = tuple[str, str, Callable[[TargetSnapshot], int]]
TARGET_FAMILIES: Final[tuple[TargetRow, ...]] = (
    ("availability", "1 if the target can be used, else 0", lambda t: int(t.available)),
    (
        "max_database_connections_allowed",
        "Server connections the pool may open to the target; 0 while unknown",
        lambda t: t.max_allowed,
    ),
)

PoolRow = tuple[str, str, Callable[[PoolSnapshot], int]]
POOL_FAMILIES: Final[tuple[PoolRow, ...]] = (
    ("clients_waiting", "Clients waiting for a server connection", lambda p: p.waiting),
    ("database_connections", "Server connections logged in now", lambda p: p.open),
    ("database_connections_with_tls", "Of these, with TLS", lambda p: p.tls),
    ("database_connections_idle", "Of these, lent to nobody", lambda p: p.idle),
    ("database_connections_connecting", "Server connections on the way", lambda p: p.connecting),
    ("database_connections_currently_borrowed", "Lent to a client now", lambda p: p.borrowed),
    (
        "database_connections_currently_in_transaction",
        "In a transaction now",
        lambda p: p.in_transaction,
    ),
    (
        "database_connections_currently_session_pinned",
        "Pinned to one client now",
        lambda p: p.pinned,
    ),
    (
        "database_connection_requests_total",
        "Borrows asked for, granted or not",
        lambda p: p.counters.requests,
    ),
    (
        "database_connection_requests_with_tls_total",
        "Of these, for clients with TLS",
        lambda p: p.counters.requests_tls,
    ),
    (
        "database_connections_borrow_timeouts_total",
        "Borrows that got nothing in time",
        lambda p: p.counters.borrow_timeouts,
    ),
    (
        "database_connections_setup_succeeded_total",
        "Server connections opened and logged in",
        lambda p: p.counters.setup_succeeded,
    ),
    (
        "database_connections_setup_failed_total",
        "Server connections that could not be opened",
        lambda p: p.counters.setup_failed,
    ),
    ("cancels_total", "Cancel requests passed on", lambda p: p.counters.cancels),
)

HISTOGRAMS: Final[tuple[tuple[str, str, Callable[[PoolSnapshot], Histogram]], ...]] = (
    (
        "database_connections_borrow_latency_seconds",
        "From asking for a server connection to having one",
        lambda p: p.counters.borrow_latency,
    ),
    (
        "query_response_latency_seconds",
        "From a request's arrival to the end of its reply",
        lambda p: p.counters.query_latency,
    ),
    (
        "query_database_response_latency_seconds",
        "From sending a request to the server to the end of its reply",
        lambda p: p.counters.database_latency,
    ),
)

_BOUNDS: Final = (*(repr(bound) for bound in BUCKET_BOUNDS_S), "+Inf")


def _family(name: str, text: str, labels: Sequence[str]) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    return kind(f"tidegate_{name}", text, labels=labels)


def _reasons(
    name: str, text: str, labels: Sequence[str], counted: list[tuple[Labels, dict[str, int]]]
) -> Metric:
    family = CounterMetricFamily(f"tidegate_{name}", text, labels=(*labels, "reason"))
    sums: dict[Labels, int] = {}
    for values, by_reason in counted:
        for reason, count in by_reason.items():
            key = (*values, reason)
            sums[key] = sums.get(key, 0) + count
    for key, total in sums.items():
        family.add_metric(key, total)
    return family


def _histogram(
    name: str, text: str, pools: Pools, pick: Callable[[PoolSnapshot], Histogram]
) -> Iterator[Metric]:
    """Yield the family in pieces: to build it whole would take as long as to render it."""
    family = HistogramMetricFamily(f"tidegate_{name}", text, labels=POOL_LABELS)
    for values, members in pools.items():
        if len(family.samples) + len(_BOUNDS) > SAMPLES_IN_A_PIECE:
            yield family
            family = HistogramMetricFamily(f"tidegate_{name}", text, labels=POOL_LABELS)
        chosen = [pick(pool) for pool in members]
        columns = zip(*(histogram.cumulative() for histogram in chosen), strict=True)
        buckets = [(bound, float(sum(c))) for bound, c in zip(_BOUNDS, columns, strict=True)]
        family.add_metric(values, buckets, sum(histogram.total_s for histogram in chosen))
    yield family


class TidegateCollector(Collector):
    """Collects a fresh snapshot on each scrape."""

    def __init__(
        self, source: SnapshotSource, *, max_labelled_pools: int = MAX_LABELLED_POOLS
    ) -> None:
        self._source = source
        self._max_labelled_pools = max_labelled_pools
        self._labelled: set[Labels] = set()
        self._folded: set[Labels] = set()

    def collect(self) -> Iterator[Metric]:
        """Yield every family. Called on the event loop's thread."""
        whole: Metric | None = None
        for piece in self.pieces(self._source()):
            if whole is not None and whole.name == piece.name:
                whole.samples += piece.samples
                continue
            if whole is not None:
                yield whole
            whole = piece
        if whole is not None:
            yield whole

    def pieces(self, snapshot: Snapshot) -> Iterator[Metric]:
        """Yield every family of one snapshot, large ones in several metrics of the same name."""
        yield from self._process_families(snapshot)
        for name, text, read in ENDPOINT_FAMILIES:
            family = _family(name, text, ENDPOINT_LABELS)
            for endpoint in snapshot.endpoints:
                family.add_metric(_endpoint_labels(endpoint), read(endpoint))
            yield family
        yield _reasons(
            "client_connections_closed_total",
            "Client connections closed",
            ENDPOINT_LABELS,
            [(_endpoint_labels(e), e.counters.closed_by_reason) for e in snapshot.endpoints],
        )
        for name, text, read_target in TARGET_FAMILIES:
            family = _family(name, text, TARGET_LABELS)
            for target in snapshot.targets:
                family.add_metric((target.proxy, target.target, target.role), read_target(target))
            yield family
        yield from self._pool_families(self._by_labels(snapshot))

    def _process_families(self, snapshot: Snapshot) -> Iterator[Metric]:
        build = GaugeMetricFamily("tidegate_build_info", "Always 1", labels=tuple(snapshot.build))
        build.add_metric(tuple(snapshot.build.values()), 1)
        yield build
        ready = not snapshot.unready_reasons()
        yield GaugeMetricFamily("tidegate_ready", "What /readyz says: 1 or 0", value=int(ready))
        yield GaugeMetricFamily("tidegate_draining", "1 while draining", int(snapshot.draining))
        yield CounterMetricFamily(
            "tidegate_log_records_dropped_total",
            "Log lines lost to a slow standard error",
            value=snapshot.log_records_dropped,
        )

    def _pool_families(self, pools: Pools) -> Iterator[Metric]:
        for name, text, read in POOL_FAMILIES:
            family = _family(name, text, POOL_LABELS)
            for values, members in pools.items():
                family.add_metric(values, sum(read(pool) for pool in members))
            yield family
        requests = CounterMetricFamily(
            "tidegate_query_requests_total", "Requests", labels=(*POOL_LABELS, "tls")
        )
        for values, members in pools.items():
            tls = sum(pool.counters.queries_tls for pool in members)
            total = sum(pool.counters.queries for pool in members)
            requests.add_metric((*values, "true"), tls)
            requests.add_metric((*values, "false"), total - tls)
        yield requests
        every = [(values, pool.counters) for values, members in pools.items() for pool in members]
        yield _reasons(
            "session_pins_total",
            "Times a session pinned its server connection",
            POOL_LABELS,
            [(values, counters.pins_by_reason) for values, counters in every],
        )
        yield _reasons(
            "database_connections_closed_total",
            "Server connections closed",
            POOL_LABELS,
            [(values, counters.closed_by_reason) for values, counters in every],
        )
        for name, text, pick in HISTOGRAMS:
            yield from _histogram(name, text, pools, pick)

    def _by_labels(self, snapshot: Snapshot) -> Pools:
        roles = {(target.proxy, target.target): target.role for target in snapshot.targets}
        present = {(p.proxy, p.target, p.database, p.user) for p in snapshot.pools}
        # A pool stays on the side it first came to: moving its counts into or out of the shared
        # series would look like traffic.
        self._labelled &= present
        self._folded &= present
        pools: Pools = {}
        for pool in snapshot.pools:
            key = (pool.proxy, pool.target, pool.database, pool.user)
            if key not in self._labelled and key not in self._folded:
                full = len(self._labelled) >= self._max_labelled_pools
                (self._folded if full else self._labelled).add(key)
            database, user = key[2:] if key in self._labelled else (OTHER, OTHER)
            role = roles.get((pool.proxy, pool.target), "")
            values = (pool.proxy, pool.target, role, database, user)
            pools.setdefault(values, []).append(pool)
        return pools


def _endpoint_labels(endpoint: EndpointSnapshot) -> Labels:
    return (endpoint.proxy, endpoint.endpoint, endpoint.role)


class _Piece:
    """As much of a registry as ``generate_latest`` needs, holding one metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def _processes(pids: dict[str, int]) -> list[Metric]:
    """The usual metrics of a process, for each of several, with the label ``worker``."""
    families: dict[str, Metric] = {}
    for name, pid in pids.items():
        collector = ProcessCollector(pid=partial(int, pid), registry=CollectorRegistry())
        for metric in collector.collect():
            samples = [sample._replace(labels={"worker": name}) for sample in metric.samples]
            if metric.name in families:
                families[metric.name].samples += samples
            else:
                metric.samples = samples
                families[metric.name] = metric
    return list(families.values())


class Exposition:
    """The text of ``/metrics``: the collector's families and the process's own."""

    def __init__(
        self, source: SnapshotSource, *, max_labelled_pools: int = MAX_LABELLED_POOLS
    ) -> None:
        self._source = source
        self._collector = TidegateCollector(source, max_labelled_pools=max_labelled_pools)
        # Its own registry: the global one would add whatever other libraries put there.
        self._process = ProcessCollector(registry=CollectorRegistry())

    def pieces(self) -> Iterator[bytes]:
        """Yield the text in pieces that take a millisecond or two each.

        Rendering ten thousand samples at one go would hold up every client of the proxy.
        """
        previous = ""
        snapshot = self._source()
        processes = (
            _processes(snapshot.processes) if snapshot.processes else self._process.collect()
        )
        for metric in chain(self._collector.pieces(snapshot), processes):
            samples = metric.samples
            for start in range(0, len(samples) or 1, SAMPLES_IN_A_PIECE):
                metric.samples = samples[start : start + SAMPLES_IN_A_PIECE]
                text: bytes = generate_latest(_Piece(metric))
                # The lines of HELP and TYPE must not be repeated within a family.
                yield text if metric.name != previous else text.split(b"\n", 2)[2]
                previous = metric.name
