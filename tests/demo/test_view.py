"""The live view and the plain one."""

from __future__ import annotations

import io

import pytest

from proxy.demo.view import LiveView, PlainView, bar, choose_view, milliseconds
from tests.demo.samples import snapshot


class TestView:
    @pytest.mark.parametrize(
        ("value", "filled"), [(0, 0), (1, 1), (500, 5), (1000, 10), (2000, 10)]
    )
    def test_bar_fills_in_proportion_and_never_hides_something(
        self, value: int, filled: int
    ) -> None:
        assert bar(value, 1000, width=10) == "█" * filled + "·" * (10 - filled)

    def test_milliseconds(self) -> None:
        assert milliseconds(0.00123) == "1.2 ms"
        assert milliseconds(0.0456) == "46 ms"

    def test_plain_view_prints_about_once_a_second(self) -> None:
        output = io.StringIO()
        with PlainView(output) as view:
            for quarter in range(9):
                view.show(snapshot(elapsed_s=quarter / 4))
        lines = output.getvalue().splitlines()
        assert [line.split()[0] for line in lines] == ["0.0", "1.0", "2.0"]
        assert "clients    3 (1 running, 2 frozen)  database 2/10 (1 in use)  waiting 5" in lines[0]

    def test_no_terminal_means_plain(self) -> None:
        assert isinstance(choose_view(plain=False, output=io.StringIO()), PlainView)

    def test_live_view_draws_the_numbers(self) -> None:
        pytest.importorskip("rich")
        output = io.StringIO()
        with LiveView(output) as view:
            view.show(snapshot())
        text = output.getvalue()
        assert "a burst" in text
        assert "2 of 10" in text
        assert "1,234" in text
