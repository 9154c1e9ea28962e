"""Plots of results; needs matplotlib (the ``bench`` extra)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl

if TYPE_CHECKING:
    from pathlib import Path

mpl.use("Agg")


def bars(results: list[dict[str, Any]], key: str, label: str, path: Path) -> Path:
    """Draw one number of flat results as bars, a group for each case, on a logarithmic axis."""
    from matplotlib import pyplot

    results = [r for r in results if r["peers"] and key in r["peers"][0]]
    names = list(dict.fromkeys(row["peer"] for r in results for row in r["peers"]))
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.9 * len(results)), layout="constrained")
    height = 0.8 / max(len(names), 1)
    for number, name in enumerate(names):
        values = [
            (place + number * height, row[key])
            for place, result in enumerate(results)
            for row in result["peers"]
            if row["peer"] == name and row[key] > 0
        ]
        axes.barh(
            [place for place, _ in values], [value for _, value in values], height, label=name
        )
    places = [place + 0.4 - height / 2 for place in range(len(results))]
    axes.set_yticks(places, [result["title"] for result in results])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(label)
    if names:
        axes.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def cost(results: list[dict[str, Any]], path: Path) -> Path:
    """Draw CPU per transaction as bars, a group for each case, with the spread of the rounds."""
    from matplotlib import pyplot

    names = list(dict.fromkeys(row["peer"] for r in results for row in r["peers"]))
    names = [name for name in names if name != "direct"]
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.9 * len(results)), layout="constrained")
    height = 0.8 / max(len(names), 1)
    for number, name in enumerate(names):
        rows = {r["title"]: row for r in results for row in r["peers"] if row["peer"] == name}
        cpu = [rows[r["title"]]["cpu_us"] if r["title"] in rows else None for r in results]
        known = [(place, value) for place, value in enumerate(cpu) if value]
        axes.barh(
            [place + number * height for place, _ in known],
            [value["median"] for _, value in known],
            height,
            xerr=[
                [value["median"] - value["low"] for _, value in known],
                [value["high"] - value["median"] for _, value in known],
            ],
            label=name,
        )
    places = [place + 0.4 - height / 2 for place in range(len(results))]
    axes.set_yticks(places, [result["title"] for result in results])
    axes.invert_yaxis()
    axes.set_xlabel("CPU of the whole proxy per transaction, µs (least to most of the rounds)")
    if names:
        axes.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path
