"""The live view: a panel that refreshes on a terminal, a line a second elsewhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from types import TracebackType

    from rich.panel import Panel

_BAR_WIDTH = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the view shows at one moment."""

    title: str
    elapsed_s: float
    duration_s: float
    environments: int
    """How many environments the burst has at a time."""
    connected: int
    connecting: int
    running: int
    frozen: int
    open_connections: int
    """Server connections open."""
    busy_connections: int
    """Of those, in use."""
    budget: int
    """Most server connections there can be."""
    waiting: int
    transactions: int
    rate: float
    """Transactions per second, of late."""
    p50_s: float
    p99_s: float
    errors: int


def milliseconds(seconds: float) -> str:
    """Return a latency for people: ``0.8 ms``, ``12 ms``."""
    value = seconds * 1000
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def bar(value: int, whole: int, width: int = _BAR_WIDTH) -> str:
    """Return a bar of ``width`` cells filled in proportion; anything above nothing shows."""
    filled = 0 if whole <= 0 else min(round(value / whole * width), width)
    if value > 0 and filled == 0:
        filled = 1
    return "█" * filled + "·" * (width - filled)


def plain_line(snapshot: Snapshot) -> str:
    """Return the snapshot as one line of text."""
    return (
        f"{snapshot.elapsed_s:5.1f} s  clients {snapshot.connected:4d}"
        f" ({snapshot.running} running, {snapshot.frozen} frozen)"
        f"  database {snapshot.open_connections}/{snapshot.budget}"
        f" ({snapshot.busy_connections} in use)  waiting {snapshot.waiting}"
        f"  {snapshot.rate:,.0f} tx/s"
        f"  p50 {milliseconds(snapshot.p50_s)}  p99 {milliseconds(snapshot.p99_s)}"
        f"  errors {snapshot.errors}"
    )


class View(Protocol):
    """Shows snapshots while a burst runs."""

    def __enter__(self) -> View: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, snapshot: Snapshot) -> None:
        """Show the state of the burst now."""
        ...


class PlainView:
    """Prints a line about every second."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._next_s = 0.0

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def show(self, snapshot: Snapshot) -> None:
        """Print the snapshot unless the last line is less than a second old."""
        if snapshot.elapsed_s >= self._next_s:
            self._next_s = snapshot.elapsed_s + 1.0
            print(plain_line(snapshot), file=self._output, flush=True)


class LiveView:
    """Redraws a panel in place."""

    def __init__(self, output: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        # Drawn by us at each sample: no refresh thread that could outlive an interrupt.
        self._live = Live(console=Console(file=output), auto_refresh=False)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Redraw the panel."""
        self._live.update(panel(snapshot), refresh=True)


def panel(snapshot: Snapshot) -> Panel:
    """Return the snapshot as a panel."""
    from rich.panel import Panel
    from rich.table import Table

    environments, budget = snapshot.environments, snapshot.budget
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", style="bold")
    grid.add_column(justify="right", min_width=8)
    grid.add_column(no_wrap=True)
    rows = (
        ("clients connected", f"{snapshot.connected}", snapshot.connected, environments, "cyan"),
        ("frozen", f"{snapshot.frozen}", snapshot.frozen, environments, "blue"),
        ("running", f"{snapshot.running}", snapshot.running, environments, "green"),
        ("waiting", f"{snapshot.waiting}", snapshot.waiting, environments, "yellow"),
        (
            "database connections",
            f"{snapshot.open_connections} of {budget}",
            snapshot.open_connections,
            budget,
            "magenta",
        ),
        ("in use", f"{snapshot.busy_connections}", snapshot.busy_connections, budget, "magenta"),
    )
    for name, text, value, whole, colour in rows:
        grid.add_row(name, text, f"[{colour}]{bar(value, whole)}[/]")
    grid.add_row("transactions", f"{snapshot.transactions:,}", f"{snapshot.rate:,.0f} per second")
    grid.add_row(
        "latency",
        milliseconds(snapshot.p50_s),
        f"median, waiting included; 99th percentile {milliseconds(snapshot.p99_s)}",
    )
    grid.add_row("errors", f"{snapshot.errors}", "", style="red" if snapshot.errors else "")
    clock = f"{snapshot.elapsed_s:.1f} of {snapshot.duration_s:.0f} s"
    return Panel(grid, title=snapshot.title, subtitle=clock, expand=False)


def choose_view(*, plain: bool, output: TextIO | None = None) -> View:
    """Return the live view on a terminal that can show it, else the plain one."""
    stream = sys.stdout if output is None else output
    if plain or not stream.isatty():
        return PlainView(stream)
    try:
        return LiveView(stream)
    except ImportError:
        return PlainView(stream)
