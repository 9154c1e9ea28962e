"""Who may import whom, what each layer may not call, and that every module has its tests."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "proxy"

LAYERS: dict[str, int] = {
    "proxy": 0,
    "proxy.errors": 0,
    "proxy.config.model": 0,
    "proxy.metrics.counters": 0,
    "proxy.metrics.snapshot": 0,
    "proxy.wire": 1,
    "proxy.postgres": 2,
    "proxy.mysql": 2,
    "proxy.pool": 2,
    "proxy.targets.topology": 2,
    "proxy.session": 3,
    "proxy.net": 4,
    "proxy.credentials": 4,
    "proxy.targets": 4,
    "proxy.admin": 5,
    "proxy.metrics": 5,
    "proxy.config": 5,
    "proxy.demo": 5,
    "proxy.workers": 6,
    "proxy.workers.messages": 2,
    "proxy.workers.quota": 2,
    "proxy.workers.channel": 4,
    "proxy.metrics.merge": 0,
    "proxy.relay": 6,
    "proxy.reload": 6,
    "proxy.app": 7,
    "proxy.cli": 8,
    "proxy.__main__": 9,
}
"""Layer of a module or package; the longest name wins. A layer imports itself and those below."""

STRANGERS = {
    ("proxy.postgres", "proxy.mysql"),
    ("proxy.mysql", "proxy.postgres"),
    ("proxy.postgres", "proxy.pool"),
    ("proxy.mysql", "proxy.pool"),
    ("proxy.pool", "proxy.postgres"),
    ("proxy.pool", "proxy.mysql"),
    ("proxy.session", "proxy.postgres"),
    ("proxy.session", "proxy.mysql"),
    ("proxy.targets.topology", "proxy.postgres"),
    ("proxy.targets.topology", "proxy.mysql"),
    ("proxy.targets.topology", "proxy.pool"),
}
"""(importer, imported) pairs that the layers would allow and that must not be."""

SANS_IO_LAYERS = range(4)
IMPURE = {"asyncio", "socket", "ssl", "logging", "time", "random", "secrets", "os", "selectors"}
"""What sans-I/O code never imports: nonces and the time are passed in."""
CLOCK_READERS = ("proxy.session",)
"""The links are called by the event loop, which passes no time: they read the clock themselves."""

BANNED_CALLS: dict[str, tuple[str, ...]] = {
    "asyncio.create_task": ("proxy.net.runtime",),
    "asyncio.ensure_future": (),
    "asyncio.open_connection": ("proxy.admin", "proxy.demo"),
    "asyncio.start_server": (),
    "time.time": ("proxy.admin", "proxy.credentials", "proxy.net.runtime"),
    "time.sleep": (),
    "logging.getLogger": (
        "proxy.net",
        "proxy.admin",
        "proxy.app",
        "proxy.credentials",
        "proxy.relay",
        "proxy.reload",
        "proxy.workers",
    ),
    "os.system": (),
    "eval": (),
    "exec": (),
    "pickle.loads": (),
}
"""Calls, and the modules or packages that may make them all the same."""

WITHOUT_TESTS_OF_THEIR_OWN: dict[str, str] = {
    "proxy/__init__.py": "only the version",
    "proxy/__main__.py": "one line; every integration test starts it",
    "proxy/app.py": "tests/integration/test_operation.py starts, reloads and drains it",
    "proxy/mysql/constants.py": "constants; the integration tests send and receive them",
    "proxy/net/opener.py": "tests/net/test_gateway.py opens connections through it",
    "proxy/postgres/constants.py": "constants; tests/differential sends and receives each",
    "proxy/postgres/dialect.py": "wiring; any integration test",
    "proxy/postgres/preparations.py": "tests/differential/test_random.py",
    "proxy/postgres/resting_stream.py": "tests/integration/test_impostor.py",
    "proxy/postgres/translating_stream.py": "tests/differential/test_random.py",
    "proxy/session/server_link.py": "tests/session/test_client_link_transparency.py",
    "proxy/session/transport.py": "an interface; the type checker compares whoever implements it",
    "proxy/wire/dialect.py": "an interface and records; tests/postgres tests the implementation",
    "proxy/workers/budgets.py": "tests/integration/test_workers.py; what it decides, test_quota.py",
    "proxy/workers/member.py": "tests/integration/test_workers.py starts, kills and replaces them",
    "proxy/workers/mover.py": "tests/integration/test_workers.py: connections move",
    "proxy/workers/oversight.py": "tests/integration/test_workers.py: budget, cancel, death",
    "proxy/workers/scrape.py": "tests/integration/test_workers.py; tests/metrics/test_merge.py",
    "proxy/workers/supervisor.py": "tests/integration/test_workers.py",
    "proxy/workers/worker.py": "tests/integration/test_workers.py",
    "proxy/wire/steps.py": "records without behaviour; tests/net/test_conversation.py runs them",
}
"""Modules that need no test module, and why; an ``__init__`` that only re-exports needs none."""

LINES_IN_A_FILE = 400
LINES_IN_A_FUNCTION = 40
RELAY_LOOPS = (
    "proxy.mysql.client_stream",
    "proxy.mysql.packet_stream",
    "proxy.postgres.client_stream",
    "proxy.postgres.server_stream",
)
"""Their ``receive`` is longer: one loop over the messages of a chunk, with its state in locals that
mypyc keeps in registers; every message of every client goes through it."""
LINES_IN_A_RELAY_LOOP = 75


def modules() -> list[Path]:
    """Give every source file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """Give a source file's module name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def within(name: str, package: str) -> bool:
    """Say whether a module is a package or lies in it."""
    return name == package or name.startswith(package + ".")


def layer_of(name: str) -> int:
    """Give a module's layer."""
    found = max((known for known in LAYERS if within(name, known)), key=len)
    assert found != "proxy" or name == "proxy", f"{name} has no layer: add it to LAYERS"
    return LAYERS[found]


@functools.cache
def parsed(path: Path) -> ast.Module:
    """Parse a source file."""
    return ast.parse(path.read_text(), str(path))


def _imported_by(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        base = ".".join([*package.split(".")[: -node.level], *filter(None, [node.module])])
    known = {name_of(path) for path in modules()}
    deeper = [f"{base}.{alias.name}" for alias in node.names]
    return [name if name in known else base for name in deeper]


def imports(path: Path) -> set[str]:
    """Give the modules a source file imports anywhere in it, for the type checker's eyes too."""
    package = name_of(path) + (".x" if path.name == "__init__.py" else "")
    return {name for node in ast.walk(parsed(path)) for name in _imported_by(node, package)}


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Name):
        return node.func.id
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        return f"{node.func.value.id}.{node.func.attr}"
    return ""


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    importer = name_of(path)
    for imported in imports(path):
        if within(imported, "proxy"):
            assert layer_of(imported) <= layer_of(importer), f"{importer} imports {imported}"
        for left, right in STRANGERS:
            assert not (within(importer, left) and within(imported, right)), (importer, imported)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_sans_io_code_does_no_io(path: Path) -> None:
    name = name_of(path)
    if layer_of(name) in SANS_IO_LAYERS:
        impure = {imported.split(".")[0] for imported in imports(path)} & IMPURE
        if any(within(name, reader) for reader in CLOCK_READERS):
            impure -= {"time"}
        assert not impure, f"{name} imports {impure}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_banned_calls(path: Path) -> None:
    name = name_of(path)
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            allowed = BANNED_CALLS.get(_called(node))
            assert allowed is None or any(within(name, place) for place in allowed), (
                f"{name}:{node.lineno} calls {_called(node)}"
            )


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_sizes(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES_IN_A_FILE
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - (body[0].lineno if body else node.lineno) + 1
            relay_loop = node.name == "receive" and name_of(path) in RELAY_LOOPS
            limit = LINES_IN_A_RELAY_LOOP if relay_loop else LINES_IN_A_FUNCTION
            assert lines <= limit, f"{node.name} has {lines} lines"


def _only_re_exports(path: Path) -> bool:
    allowed = ast.Import | ast.ImportFrom | ast.Expr | ast.Assign
    return path.name == "__init__.py" and all(isinstance(n, allowed) for n in parsed(path).body)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_every_module_has_tests(path: Path) -> None:
    relative = path.relative_to(ROOT)
    if str(relative) in WITHOUT_TESTS_OF_THEIR_OWN or _only_re_exports(path):
        return
    folder = ROOT / "tests" / relative.parent.relative_to("proxy")
    stem = relative.parent.name if path.name == "__init__.py" else path.stem
    assert list(folder.glob(f"test_{stem}*.py")), f"no {folder.name}/test_{stem}.py"


def test_exceptions_are_not_stale() -> None:
    for listed, reason in WITHOUT_TESTS_OF_THEIR_OWN.items():
        assert (ROOT / listed).exists(), f"{listed} is gone"
        assert reason
