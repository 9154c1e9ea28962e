"""Plain counters that the relay adds to and a scrape reads.

The relay writes ``counters.queries += 1`` and knows nothing of metrics libraries, locks or labels;
``proxy.metrics.prometheus`` reads the same attributes when somebody asks. Everything that is not
called a gauge only grows. This module is compiled, so it is plain typed classes throughout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64

BUCKET_BOUNDS_S: Final[list[float]] = [
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    20.0,
    30.0,
    60.0,
    120.0,
]
"""Upper bounds of a histogram's buckets in seconds, inclusive; one more bucket is unbounded.

From one loopback round trip to the default ``connection_borrow_timeout_s``.
"""


_STEP_S: Final = 0.00005
_STEPS_PER_S: Final = 20_000.0
_ROUNDED_UP: Final = 0.999999
_STEPPED_S: Final = 0.01
"""Up to here all bounds are multiples of a step."""
_STEPPED: Final = 8
_BUCKET_OF_STEP: Final = bytes(
    sum(bound + 1e-9 < step * _STEP_S for bound in BUCKET_BOUNDS_S) for step in range(201)
)
"""Bucket of a duration of so many steps, rounded up."""


class Histogram:
    """Durations counted into fixed buckets (``BUCKET_BOUNDS_S``)."""

    __slots__ = ("buckets", "count", "total_s")

    def __init__(self) -> None:
        self.buckets: list[int] = [0] * (len(BUCKET_BOUNDS_S) + 1)
        """Observations per bucket, not cumulative; the last is the unbounded one."""
        self.count: int = 0
        """Observations so far."""
        self.total_s: float = 0.0
        """Sum of the observations in seconds."""

    def observe(self, seconds: float) -> None:
        """Count one duration; a negative one (a clock that stepped) counts as zero."""
        if seconds < 0.0:
            seconds = 0.0
        self.count += 1
        self.total_s += seconds
        if seconds <= _STEPPED_S:
            # Nearly every query, and on the path of every query: no bisection.
            step = int(seconds * _STEPS_PER_S + _ROUNDED_UP)
            self.buckets[_BUCKET_OF_STEP[step]] += 1
            return
        low: i64 = _STEPPED
        high: i64 = len(BUCKET_BOUNDS_S)
        while low < high:
            middle: i64 = (low + high) >> 1
            if seconds <= BUCKET_BOUNDS_S[middle]:
                high = middle
            else:
                low = middle + 1
        self.buckets[low] += 1

    def observe_none(self) -> None:
        """Count a duration of zero."""
        self.buckets[0] += 1
        self.count += 1

    def cumulative(self) -> list[int]:
        """Return, for each bound and then for infinity, how many observations do not exceed it."""
        running = 0
        result: list[int] = []
        for count in self.buckets:
            running += count
            result.append(running)
        return result


class EndpointCounters:
    """What happened to the clients of one endpoint."""

    __slots__ = (
        "clients",
        "clients_closed",
        "clients_no_tls",
        "clients_received",
        "clients_tls",
        "closed_by_reason",
        "setup_failed_auth",
        "setup_failed_other",
        "setup_succeeded",
    )

    def __init__(self) -> None:
        self.clients: int = 0
        """Gauge: client connections open now, logged in or not."""
        self.clients_tls: int = 0
        """Gauge: those of them that use TLS."""
        self.clients_no_tls: int = 0
        """Gauge: those of them known not to use TLS."""
        self.clients_received: int = 0
        """Connections accepted."""
        self.clients_closed: int = 0
        """Connections closed, whatever the reason."""
        self.setup_succeeded: int = 0
        """Clients that finished logging in."""
        self.setup_failed_auth: int = 0
        """Clients turned away because of TLS, user or password."""
        self.setup_failed_other: int = 0
        """Clients that failed before logging in for any other reason, such as a time-out."""
        self.closed_by_reason: dict[str, int] = {}
        """``clients_closed`` by a reason from a fixed set of words."""


class PoolCounters:
    """What happened to the server connections of one (target, database, user)."""

    __slots__ = (
        "borrow_latency",
        "borrow_timeouts",
        "cancels",
        "closed_by_reason",
        "database_latency",
        "pins_by_reason",
        "queries",
        "queries_tls",
        "query_latency",
        "requests",
        "requests_tls",
        "setup_failed",
        "setup_succeeded",
    )

    def __init__(self) -> None:
        self.requests: int = 0
        """Borrows asked for, granted or not (DatabaseConnectionRequests)."""
        self.requests_tls: int = 0
        """Those of them on behalf of a client that uses TLS."""
        self.borrow_latency: Histogram = Histogram()
        """From asking for a server connection to having one."""
        self.borrow_timeouts: int = 0
        """Borrows that got nothing within ``connection_borrow_timeout_s``."""
        self.setup_succeeded: int = 0
        """Server connections opened and logged in."""
        self.setup_failed: int = 0
        """Attempts to open a server connection that failed."""
        self.queries: int = 0
        """Requests that ended: simple queries, Syncs, function calls."""
        self.queries_tls: int = 0
        """Those of them from a client that uses TLS."""
        self.query_latency: Histogram = Histogram()
        """From reading the request to the end of its reply, the wait for a connection included."""
        self.database_latency: Histogram = Histogram()
        """From sending the request to the server to the end of its reply."""
        self.cancels: int = 0
        """Cancel requests passed on to the server."""
        self.pins_by_reason: dict[str, int] = {}
        """Times a session pinned a server connection, by a reason from a fixed set of words."""
        self.closed_by_reason: dict[str, int] = {}
        """Server connections closed, by a reason from a fixed set of words."""
