"""The rows of the table, and what each must reach: the only place that says so."""

# ruff: noqa: RUF001, RUF002 - the table's typography

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One figure of the table; a measured value is within a bound if it is not above it.

    ``unit`` is the unit of the value (``"× nginx"`` for a ratio, with its two parts beside it).
    What is above ``most`` fails the run; ``goal`` is where the figure should go. None: only
    reported.
    """

    row: str
    what: str
    unit: str
    most: float | None = None
    goal: float | None = None


LIMITS = (
    Limit(row="request_32", what="request, CPU, 32 connections", unit="× nginx", most=7, goal=5),
    Limit(row="request_1", what="request, CPU, 1 connection", unit="× nginx"),
    Limit(row="request_128", what="request, CPU, 128 connections", unit="× nginx"),
    Limit(
        row="chunk_hidden",
        what="streamed chunk, CPU, `usage: null` taken out",
        unit="× nginx",
        most=1.6,
        goal=1.3,
    ),
    Limit(row="chunk_asked", what="streamed chunk, CPU, usage asked for", unit="× nginx"),
    Limit(row="latency_p50", what="added latency, 200 requests/s, p50", unit="ms", most=2, goal=1),
    Limit(row="latency_p99", what="added latency, 200 requests/s, p99", unit="ms", most=8, goal=5),
    Limit(
        row="first_byte",
        what="time to first byte added, 500 open streams, p99",
        unit="ms",
        most=10,
        goal=5,
    ),
    Limit(row="stream_memory", what="memory of an open stream", unit="kB", most=30, goal=20),
    Limit(row="streams_broken", what="1,000 streams at 20 chunks/s: broken", unit="", most=0),
    Limit(
        row="lateness",
        what="1,000 streams at 20 chunks/s: lateness over direct, p99",
        unit="ms",
        most=50,
        goal=20,
    ),
    Limit(row="body_memory", what="20 MB request body: held", unit="× body", most=2, goal=1),
    Limit(row="start", what="start to first answer", unit="s", most=0.7, goal=0.4),
    Limit(row="idle_memory", what="idle memory", unit="MB", most=60, goal=45),
    Limit(
        row="usage_p99",
        what="`GET /usage/current`, 31 busy days, 15 series, writes running, p99",
        unit="ms",
        most=5,
        goal=1.5,
    ),
    Limit(
        row="usage_p99_short",
        what="the same with one busy day",
        unit="ms",
    ),
    Limit(
        row="scale_p99",
        what="`GET /usage/current`, 1 of 10,000 subscriptions, 10 million events, p99",
        unit="ms",
        most=10,
    ),
    Limit(row="scale_p99_empty", what="the same lines in an almost empty ledger", unit="ms"),
    Limit(row="scale_ratio", what="the one over the other", unit="×", most=2),
    Limit(row="tls_request", what="TLS upstream: request, CPU, 32 connections", unit="× nginx"),
    Limit(row="tls_chunk", what="TLS upstream: streamed chunk, CPU", unit="× nginx"),
)

QUICK = ("request_32", "chunk_hidden")
"""What ``--quick`` measures."""
