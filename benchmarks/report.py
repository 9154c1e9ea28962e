"""Results on disk: JSON with every sample, a Markdown table, and plots."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

from benchmarks import goals
from benchmarks.build import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.relay import Outcome

RESULTS = ROOT / "benchmarks" / "results"
REFERENCE = "pgbouncer"
_PLOTTED = {
    "burst": ("last_first_ms", "until the last environment had its first answer, ms"),
    "memory": ("bytes_per_client", "memory of the whole proxy per client, bytes"),
}
_PLOTTED.update({f"mysql-{name}": plotted for name, plotted in _PLOTTED.items()})
"""Of flat results: the number that is drawn, and its name."""
_HEADINGS = (
    "peer", "CPU per transaction, µs (least to most)", "of it user", "CPU to {} (spread)",
    "transactions/s", "p50 µs", "p99 µs", "p99.9 µs",
)  # fmt: skip


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def cells(row: dict[str, Any]) -> list[str]:
    """Return a row of the Markdown table."""
    cpu, ratio = row["cpu_us"], row.get("cpu_ratio")
    measured = cpu["median"] > 0
    return [
        row["peer"],
        f"{cpu['median']:.1f} ({cpu['low']:.1f} to {cpu['high']:.1f})" if measured else "-",
        f"{row['user_share']:.0%}" if measured else "-",
        f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
        if ratio and measured
        else "-",
        *(f"{row[key]:,.0f}" for key in ("transactions_per_s", "p50_us", "p99_us", "p999_us")),
    ]


def markdown(
    facts: dict[str, str], results: list[dict[str, Any]], reference: str = REFERENCE
) -> str:
    """Return the whole document."""
    lines = ["# Cost per transaction", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    for result in results:
        lines += [
            "",
            f"## {result['title']}",
            "",
            _line([word.format(reference) for word in _HEADINGS]),
        ]
        lines += [_line(["---"] * len(_HEADINGS))]
        lines += [_line(cells(row)) for row in result["peers"]]
        lines += [f"\n{name} failed: {why}" for name, why in result["failures"].items()]
    return "\n".join(lines) + "\n"


def plain_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a Markdown table with a column for each number or word in the rows."""
    keys = [key for key, value in rows[0].items() if isinstance(value, str | int | float)]
    lines = [_line([key.replace("_", " ") for key in keys]), _line(["---"] * len(keys))]
    for row in rows:
        words = [row[key] if isinstance(row[key], str) else f"{row[key]:,.0f}" for key in keys]
        lines += [_line(words)]
    return lines


def write_plain(
    facts: dict[str, str], results: Sequence[dict[str, Any]], name: str, title: str
) -> list[Path]:
    """Write results whose rows are flat; return what was written."""
    RESULTS.mkdir(exist_ok=True)
    lines = [f"# {title}", "", *(f"- {key}: {value}" for key, value in facts.items())]
    for result in (result for result in results if result["peers"]):
        lines += ["", f"## {result['title']}", "", *plain_table(result["peers"])]
        for row in result["peers"]:
            if row.get("errors"):
                lines += ["", f"{row['peer']}: {row['errors']}"]
    data, table = RESULTS / f"{name}.json", RESULTS / f"{name}.md"
    data.write_text(json.dumps({"facts": facts, "results": results}, indent=1) + "\n")
    table.write_text("\n".join(lines) + "\n")
    written = [data, table, write_summary()]
    if name not in _PLOTTED or importlib.util.find_spec("matplotlib") is None:
        return written
    from benchmarks import plots

    return [*written, plots.bars(list(results), *_PLOTTED[name], RESULTS / f"{name}.png")]


def write_summary() -> Path:
    """Write the goals beside what the newest results of all parts say."""
    path = RESULTS / "summary.md"
    path.write_text(goals.summary(RESULTS))
    return path


def write(
    facts: dict[str, str],
    outcomes: Sequence[Outcome],
    name: str = "relay",
    reference: str = REFERENCE,
) -> list[Path]:
    """Write the results; return what was written."""
    RESULTS.mkdir(exist_ok=True)
    results: list[dict[str, Any]] = [
        {
            "title": outcome.title,
            "peers": [outcome.row(peer, reference) for peer in outcome.samples],
            "failures": outcome.failures,
        }
        for outcome in outcomes
    ]
    data, table = RESULTS / f"{name}.json", RESULTS / f"{name}.md"
    data.write_text(json.dumps({"facts": facts, "results": results}, indent=1) + "\n")
    table.write_text(markdown(facts, results, reference))
    written = [data, table, write_summary()]
    if importlib.util.find_spec("matplotlib") is None:
        print("  without plots: matplotlib is not installed (pip install 'tidegate[bench]')")
        return written
    from benchmarks import plots

    return [*written, plots.cost(results, RESULTS / f"{name}.png")]
