"""The closing words."""

from __future__ import annotations

import re
from collections import Counter

from proxy.demo.summary import comparison, error_lines, proxied_verdict, summary
from tests.demo.samples import result


class TestSummary:
    def test_says_what_was_served_over_how_many_connections(self) -> None:
        text = " ".join(proxied_verdict(result()))
        assert "12 of 12 environments" in text
        assert "at most 4 database connections" in text
        assert "0 errors" in text
        assert result().clean

    def test_errors_are_counted_and_shown(self) -> None:
        broken = result(errors={"08006 gone": 3})
        assert not broken.clean
        assert "3 errors" in proxied_verdict(broken)[0]
        assert "3 x 08006 gone" in "\n".join(proxied_verdict(broken))

    def test_unfinished_environments_are_errors(self) -> None:
        hanging = result()
        hanging.measures.unfinished = 2
        assert not hanging.clean
        assert "2 environments never finished" in "\n".join(proxied_verdict(hanging))

    def test_many_kinds_of_errors_are_cut_short(self) -> None:
        lines = error_lines(Counter({f"error {n}": n for n in range(1, 8)}))
        assert lines[0].strip() == "7 x error 7"
        assert lines[-1].strip() == "and 3 more kinds"

    def test_columns_line_up(self) -> None:
        lines = comparison({"one": result(), "two": result(served=1)}).splitlines()
        assert len({len(line) for line in lines}) == 1
        assert re.search(r"environments served +12 +1$", "\n".join(lines), re.MULTILINE)

    def test_the_direct_burst_names_the_refused(self) -> None:
        direct = result(served=5, refused=9, errors={"53300 sorry, too many clients already": 9})
        text = summary(result(), direct)
        assert "7 of 12 environments never got a connection" in text
        assert "9 x 53300 sorry, too many clients already" in text

    def test_a_small_direct_burst_fits(self) -> None:
        assert "fitted into the database's 10 connections" in summary(result(), result())
