"""Which modules own each dependency, the environment and the clock, and how long files and functions are."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from radon.complexity import cc_visit

PACKAGE = Path(__file__).parent.parent / "geocli"
OWNERS = {
    "hatchling": {"geocli.engine.build_kernel"},
    "packaging": {"geocli.engine.build_kernel"},
    "typer": {"geocli.cli"},
    "rich": {
        f"geocli.formats.{name}"
        for name in ("cards", "counts", "docs_pages", "progress", "statistics_table", "terminal")
    },
    "sqlite_utils": {"geocli.storage.migrations"},
    "sqlite3": {
        *(f"geocli.storage.{name}" for name in ("migrations", "sqlite_errors", "store", "store_writer")),
        "geocli.health",
    },
    "structlog": {"geocli.logs"},
    "maxminddb_rust": {"geocli.databases.database"},
    "iptocc": {"geocli.resolvers.registries"},
    "requests": {"geocli.http", "geocli.databases.download", "geocli.resolvers.ip_api", "geocli.resolvers.maxmind_web"},
    "urllib3": {"geocli.http"},
    "pygeoipupdate": {"geocli.databases.maxmind"},
    "pygal": {"geocli.formats.svg_charts", "geocli.formats.report"},
    "jinja2": {"geocli.formats.report"},
    "markupsafe": {"geocli.formats.report"},
    "geoip2": {"geocli.resolvers.maxmind_web"},
    "dask": {"geocli.cluster"},
    "distributed": {"geocli.cluster"},
    "fsspec": {"geocli.cluster"},
}
"""The modules, or packages of them, that may import each package. Import-linter checks the layers."""


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {_name(path): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def _imports(tree: ast.Module) -> set[str]:
    """Return the full names of all modules that a module imports, also inside functions and for types."""
    result: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            result |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(MODULES)
            result |= inner or {node.module}
    return result


@pytest.mark.parametrize("module", MODULES)
def test_a_package_is_imported_by_its_owner_alone(module: str) -> None:
    """One module owns each dependency, and only declared ones are imported."""
    foreign = {name.partition(".")[0] for name in _imports(MODULES[module])} - set(sys.stdlib_module_names) - {"geocli"}

    packages = {module[:end] for end in range(len(module) + 1) if module[end : end + 1] in {".", ""}}
    assert set() == {name for name in foreign if OWNERS[name].isdisjoint(packages)}


def test_only_settings_reads_the_environment() -> None:
    """`os.environ` is read in one module; others only set variables: for `--no-color`, Dask and zig."""
    readers = {
        module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }

    assert {
        "geocli.settings",
        "geocli.cli.app",
        "geocli.cluster.forkserver",
        "geocli.engine.build_kernel",
    } == readers


def test_only_the_default_clock_reads_the_time() -> None:
    """The clock is injected; `utc_now` is the default."""
    readers = {
        module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"} and not _is_value(node)
    }

    assert {"geocli.cache"} == readers


def _is_value(node: ast.Attribute) -> bool:
    """Return whether `now` is a field rather than the clock of `datetime`."""
    return not (isinstance(node.value, ast.Name) and node.value.id in {"datetime", "date", "time"})


def test_no_file_and_no_function_is_too_long() -> None:
    """Files have fewer than 350 lines, functions fewer than 60, and nine of ten fewer than 30."""
    functions = [
        (module, node.name, (node.end_lineno or 0) - node.lineno + 1)
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]
    lengths = sorted(length for _, _, length in functions)

    assert [] == [path.name for path in PACKAGE.rglob("*.py") if len(path.read_text().splitlines()) > 350]
    assert [] == [function for function in functions if function[2] > 60]
    assert lengths[int(len(lengths) * 0.9)] <= 30
    assert lengths[len(lengths) // 2] <= 10


def test_no_block_is_too_complex() -> None:
    """The cyclomatic complexity of functions and classes is at most 12, as radon counts it."""
    blocks = [
        (path.name, block.fullname, block.complexity)
        for path in PACKAGE.rglob("*.py")
        for block in cc_visit(path.read_text())
    ]

    assert len(MODULES) < len(blocks)
    assert [] == [block for block in blocks if block[2] > 12]
