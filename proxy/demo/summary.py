"""The words the demonstration ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.demo.measures import BurstResult, percentile
from proxy.demo.view import milliseconds

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

_LABEL_WIDTH = 34
_COLUMN_WIDTH = 22
_ERRORS_SHOWN = 4


def _latency(result: BurstResult) -> str:
    values = result.measures.latencies_s
    return (
        f"{milliseconds(percentile(values, 0.5))} / {milliseconds(percentile(values, 0.99))}"
        if values
        else "-"
    )


def _rate(result: BurstResult) -> str:
    return f"{result.measures.transactions / max(result.duration_s, 0.001):,.0f}"


_ROWS: tuple[tuple[str, Callable[[BurstResult], str]], ...] = (
    ("environments started", lambda r: f"{r.measures.started:,}"),
    ("environments served", lambda r: f"{r.measures.served:,}"),
    ("died without a word (simulated)", lambda r: f"{r.measures.killed:,}"),
    ("transactions", lambda r: f"{r.measures.transactions:,}"),
    ("transactions per second", _rate),
    ("latency, median / 99th percentile", _latency),
    ("most server connections seen", lambda r: f"{r.peak_connections} of {r.budget}"),
    ("connection attempts refused", lambda r: f"{r.measures.refused:,}"),
    ("failed transactions", lambda r: f"{r.measures.failed:,}"),
    ("orders and stock agree", lambda r: "no" if r.ledger_problem else "yes"),
)


def comparison(columns: dict[str, BurstResult]) -> str:
    """Return the results side by side under their titles."""
    lines = [" " * _LABEL_WIDTH + "".join(f"{title:>{_COLUMN_WIDTH}}" for title in columns)]
    for label, text in _ROWS:
        cells = "".join(f"{text(result):>{_COLUMN_WIDTH}}" for result in columns.values())
        lines.append(f"{label:<{_LABEL_WIDTH}}{cells}")
    return "\n".join(lines)


def error_lines(errors: Counter[str]) -> list[str]:
    """Return the commonest errors, one to a line, and how many kinds were left out."""
    lines = [f"    {count:,} x {text}" for text, count in errors.most_common(_ERRORS_SHOWN)]
    if len(errors) > _ERRORS_SHOWN:
        lines.append(f"    and {len(errors) - _ERRORS_SHOWN} more kinds")
    return lines


def proxied_verdict(result: BurstResult) -> list[str]:
    """Say how the burst through the proxy went."""
    measures = result.measures
    lines = [
        f"Through Tidegate {measures.served:,} of {measures.started:,} environments were served"
        f" over at most {result.peak_connections} database connections"
        f" (budget {result.budget}), with {measures.error_count:,} errors."
    ]
    lines += error_lines(measures.errors)
    if measures.unfinished:
        lines.append(f"    {measures.unfinished:,} environments never finished")
    if result.ledger_problem:
        lines.append(f"    The books do not balance: {result.ledger_problem}.")
    return lines


def direct_verdict(result: BurstResult) -> list[str]:
    """Say how the same burst went without the proxy."""
    measures = result.measures
    left_out = measures.started - measures.served
    lines = [
        f"Without it {left_out:,} of {measures.started:,} environments never got a connection:"
        f" frozen environments held most of the database's {result.budget},"
        f" and {measures.refused:,} attempts were refused."
        if measures.refused
        else "Without it the same burst fitted into the database's"
        f" {result.budget} connections and needed {result.peak_connections} of them."
    ]
    return lines + error_lines(measures.errors)


def summary(proxied: BurstResult, direct: BurstResult | None) -> str:
    """Return the whole closing text."""
    columns = {"through Tidegate": proxied}
    if direct is not None:
        columns["directly"] = direct
    lines = ["", comparison(columns), "", *proxied_verdict(proxied)]
    if direct is not None:
        lines += direct_verdict(direct)
    return "\n".join(lines)
