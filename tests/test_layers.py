"""Which room may import which, and who owns each dependency."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "geocli"
ANY = "any"
ROOMS: dict[str, set[str] | str] = {
    "geocli": {"cache", "models", "errors", "settings", "storage.flush"},
    "geocli.__main__": {"cli", "console", "settings"},
    "geocli.cli": set(),
    "geocli.cli.*": ANY,
    "geocli.privileges": {"errors", "files.ownership", "resolvers.registries"},
    "geocli.console": {"errors", "sanitize"},
    "geocli.errors": {"sanitize"},
    "geocli.http": {"errors", "sanitize", "immutable"},
    "geocli.sanitize": set(),
    "geocli.merging": {"models"},
    "geocli.languages": {"models", "errors"},
    "geocli.immutable": set(),
    "geocli.hashing": set(),
    "geocli.freshness": {"models"},
    "geocli.logs": {"errors", "sanitize"},
    "geocli.settings": {"config_file", "errors", "geoip_conf", "immutable", "setting_kinds"},
    "geocli.setting_kinds": {"languages", "sanitize"},
    "geocli.config_file": {"errors", "models", "setting_kinds"},
    "geocli.geoip_conf": {"immutable"},
    "geocli.addresses": {"errors", "immutable"},
    "geocli.timestamps": set(),
    "geocli.models": {"timestamps", "errors", "immutable"},
    "geocli.resolution": {"addresses", "models", "errors", "freshness", "logs", "merging", "resolvers"},
    "geocli.empty_fields": {"models"},
    "geocli.api_arguments": {"addresses", "models", "errors", "languages", "settings"},
    "geocli.cache": {
        "timestamps",
        *(
            "addresses",
            "api_arguments",
            "resolution",
            "models",
            "errors",
            "freshness",
            "cache_tiers",
            "settings",
            "logs",
            "upkeep",
        ),
        *("fork_safety", "resolvers", "storage", "databases.digest_cache"),
    },
    "geocli.cache_tiers": {"timestamps", "models", "errors", "storage"},
    "geocli.upkeep": {
        "timestamps",
        *("cache", "models", "errors", "freshness", "logs", "settings", "immutable"),
        *("databases.discovery", "resolvers.mmdb", "storage"),
    },
    "geocli.health": {"timestamps", "models", "errors", "storage", "upkeep"},
    "geocli.storage": {"errors"},
    "geocli.fork_safety": set(),
    "geocli.signals": {"errors"},
    "geocli.files.atomic": {"files", "signals"},
    "geocli.files.locks": {"errors", "fork_safety"},
    "geocli.files.file_checks": {"errors"},
    "geocli.files.ownership": {"errors"},
    "geocli.files.output_targets": set(),
    "geocli.files": set(),
    "geocli.storage.directory": {
        *("errors", "files"),
    },
    "geocli.backoff": {"timestamps", "models", "errors", "files", "immutable", "storage.directory"},
    "geocli.storage.frames": {"timestamps", "models", "hashing", "immutable", "storage.store_rows"},
    "geocli.storage.place_encoding": {"storage.frames"},
    "geocli.storage.recovery": {"immutable", "storage.frames"},
    "geocli.storage.tombstones": {"timestamps", "models", "immutable"},
    "geocli.storage.clear": {"errors", "storage"},
    "geocli.storage.snapshots": set(),
    "geocli.storage.journal_lookup": {
        "timestamps",
        "models",
        "storage.snapshots",
        "storage.tombstones",
        "storage.frames",
        "storage.recovery",
    },
    "geocli.storage.segments": {"immutable", "storage", "files.ownership"},
    "geocli.storage.journal_reader": {
        *(
            "models",
            "errors",
            "immutable",
            "storage",
            "storage.snapshots",
            "storage.tombstones",
            "storage.journal_lookup",
        ),
        *("storage.directory", "storage.frames", "storage.recovery", "storage.segments"),
    },
    "geocli.storage.journal": {
        *("models", "errors", "files"),
        *("storage", "storage.directory", "storage.frames", "storage.journal_reader", "storage.segments"),
    },
    "geocli.storage.store": {
        "timestamps",
        *("models", "errors", "storage", "storage.tombstones", "fork_safety", "storage.old_schemas"),
        *("files.ownership", "storage.store_rows", "storage.sqlite_errors", "files.file_checks"),
    },
    "geocli.storage.old_schemas": set(),
    "geocli.storage.sqlite_errors": {"errors"},
    "geocli.storage.disk_space": set(),
    "geocli.storage.upserts": {"storage.frames"},
    "geocli.storage.store_rows": {"timestamps", "models"},
    "geocli.storage.aggregates": {"storage.store"},
    "geocli.storage.store_writer": {"timestamps", "files.file_checks", "fork_safety", "models", "errors", "storage"},
    "geocli.storage.migrations": {"storage.store_rows", "storage.store"},
    "geocli.storage.flush": {"fork_safety", "errors", "immutable", "storage"},
    "geocli.resolvers": {
        *("addresses", "models", "errors", "merging", "settings"),
        *("databases.discovery", "resolvers", "storage.directory"),
    },
    "geocli.countries": set(),
    "geocli.resolvers.registries": {"countries", "addresses", "models", "databases.discovery", "resolvers"},
    "geocli.resolvers.web_services": {
        *("addresses", "models", "errors", "hashing", "settings", "sanitize", "immutable"),
        *("http", "resolvers", "backoff", "storage.directory", "fork_safety"),
    },
    "geocli.resolvers.maxmind_web": {"addresses", "models", "errors", "http", "resolvers"},
    "geocli.resolvers.ip_api": {"addresses", "models", "errors", "http", "languages", "resolvers"},
    "geocli.resolvers.conversions": {"languages"},
    "geocli.resolvers.place_rules": {"resolvers.conversions"},
    "geocli.resolvers.mmdb_schemas": {
        *("models", "resolvers.conversions", "countries", "resolvers.place_rules"),
    },
    "geocli.resolvers.mmdb": {"addresses", "models", "errors", "merging", "databases.discovery", "resolvers"},
    "geocli.databases": set(),
    "geocli.databases.licences": set(),
    "geocli.databases.discovery": {"errors", "immutable", "databases.licences"},
    "geocli.databases.tree_check": {"databases.discovery"},
    "geocli.databases.download": {"errors", "http", "sanitize", "backoff", "storage.directory"},
    "geocli.databases.digest_cache": {"errors", "databases.discovery", "storage.directory"},
    "geocli.databases.install": {
        "errors",
        "files",
        "databases.discovery",
        "databases.tree_check",
    },
    "geocli.databases.verify": {"errors", "databases.discovery", "databases.install", "databases.tree_check"},
    "geocli.databases.maxmind": {
        "errors",
        "settings",
        "sanitize",
        "immutable",
        "databases.download",
        "databases.install",
    },
    "geocli.databases.update": {"errors", "files", "http", "settings", "databases", "storage.directory"},
    "geocli.engine": set(),
    "geocli.engine.kernel": set(),
    "geocli.engine.build_kernel": set(),
    "geocli.bulk": set(),
    "geocli.bulk.inputs": {"errors", "sanitize"},
    "geocli.bulk.boundaries": set(),
    "geocli.bulk.versions": {"bulk.boundaries"},
    "geocli.bulk.ipv4_context": {"addresses", "bulk.boundaries", "bulk.versions"},
    "geocli.bulk.ipv6_context": {"bulk.ipv4_context", "bulk.versions"},
    "geocli.bulk.spellings": {"addresses", "bulk.ipv4_context"},
    "geocli.bulk.finding": {
        *("addresses", "errors", "bulk.boundaries", "bulk.ipv4_context", "bulk.ipv6_context", "bulk.spellings"),
        "bulk.versions",
    },
    "geocli.bulk.labels": {"bulk.finding"},
    "geocli.bulk.forms": {
        *("addresses", "models", "errors", "sanitize"),
        *("bulk.finding", "bulk.inputs", "bulk.labels", "formats.rows"),
    },
    "geocli.bulk.jsonlines": {"addresses", "models", "errors", "sanitize", "bulk.forms", "bulk.inputs", "formats.rows"},
    "geocli.bulk.parsing": {"addresses", "errors", "sanitize"},
    "geocli.bulk.tree": {"errors", "databases.discovery"},
    "geocli.bulk.scopes": {"addresses"},
    "geocli.bulk.numbering": set(),
    "geocli.bulk.record_reader": {
        *("models", "errors", "databases.discovery", "resolvers.mmdb", "resolvers.mmdb_schemas"),
        *("formats.rows", "bulk.tree"),
    },
    "geocli.bulk.database_records": {
        "timestamps",
        *("models", "merging", "databases.discovery", "formats.rows", "bulk.record_reader", "bulk.tree"),
    },
    "geocli.bulk.rendered": {"storage.place_encoding", "formats.rows"},
    "geocli.bulk.answers": {
        "timestamps",
        "models",
        "errors",
        "formats.rows",
        "merging",
        "databases.discovery",
        "resolvers",
        "bulk",
    },
    "geocli.bulk.rows": {
        "timestamps",
        "cache",
        "models",
        "sanitize",
        "bulk.answers",
        "bulk.forms",
        "bulk.labels",
        "bulk.parsing",
    },
    "geocli.bulk.keeping": {"storage.frames", "bulk.numbering", "bulk.rendered", "bulk.rows"},
    "geocli.bulk.flow": {"cache", "errors", "resolvers", "bulk", "storage.frames"},
    "geocli.formats.rows": {"models", "sanitize"},
    "geocli.bulk.pipeline": {
        *("cache", "console", "empty_fields", "errors", "sanitize", "immutable"),
        *("bulk", "files.atomic", "formats.rows"),
    },
    "geocli.cluster.splits": {"errors", "immutable", "bulk.forms", "bulk.inputs", "bulk.pipeline"},
    "geocli.cluster.messages": {
        "cache",
        "models",
        "errors",
        "immutable",
        "resolvers",
        "cluster.splits",
        "bulk.pipeline",
    },
    "geocli.cluster.worker": {
        *("cache", "models", "errors", "settings", "databases.discovery", "resolvers"),
        *("bulk", "cluster", "storage.tombstones", "storage.frames", "storage.journal"),
    },
    "geocli.cluster.output_directory": {
        *(
            "errors",
            "files",
            "immutable",
            "cluster.messages",
            "cluster.splits",
            "bulk.pipeline",
        )
    },
    "geocli.cluster.forkserver": {"errors", "signals"},
    "geocli.cluster.local_cluster": set(),
    "geocli.cluster": set(),
    "geocli.cluster.coordinator": {"cache", "errors", "bulk", "cluster", "signals"},
    "geocli.formats": set(),
    "geocli.formats.tables": {
        "timestamps",
        *("console", "databases.licences", "models", "countries", "sanitize", "upkeep"),
    },
    "geocli.formats.progress": {"formats.tables", "sanitize"},
    "geocli.formats.cards": {"formats.rows", "models", "formats.tables", "countries"},
    "geocli.formats.statistics": {
        "timestamps",
        "files",
        *("formats", "console", "models", "countries"),
        *("storage.journal_reader", "upkeep"),
    },
    "geocli.formats.pages": {"console", "errors", "formats.tables"},
    "geocli.formats.prometheus": {"timestamps", "models", "sanitize", "upkeep"},
    "geocli.formats.worldmap": set(),
}
"""Each module, and the rooms that it may import; a room includes what is in it."""
OWNERS = {
    "hatchling": {"geocli.engine.build_kernel"},
    "packaging": {"geocli.engine.build_kernel"},
    "typer": {"geocli.cli.*"},
    "rich": {
        *("geocli.formats.tables", "geocli.formats.progress", "geocli.formats.cards", "geocli.formats.statistics"),
        "geocli.formats.pages",
    },
    "sqlite_utils": {"geocli.storage.migrations"},
    "sqlite3": {
        *(
            "geocli.storage.sqlite_errors",
            "geocli.storage.store",
            "geocli.storage.store_writer",
            "geocli.storage.migrations",
        ),
        "geocli.health",
    },
    "structlog": {"geocli.logs"},
    "maxminddb_rust": {"geocli.databases.discovery"},
    "iptocc": {"geocli.resolvers.registries"},
    "requests": {"geocli.http", "geocli.databases.download", "geocli.resolvers.ip_api", "geocli.resolvers.maxmind_web"},
    "urllib3": {"geocli.http"},
    "pygeoipupdate": {"geocli.databases.maxmind"},
    "geoip2": {"geocli.resolvers.maxmind_web"},
    "dask": {"geocli.cluster.coordinator"},
    "distributed": {"geocli.cluster.coordinator", "geocli.cluster.local_cluster"},
    "fsspec": {"geocli.cluster.splits"},
    "numpy": {
        "geocli.databases.tree_check",
        *("geocli.bulk.tree", "geocli.bulk.scopes", "geocli.bulk.parsing", "geocli.bulk.finding"),
        "geocli.bulk.labels",
        *("geocli.bulk.answers", "geocli.bulk.rendered", "geocli.bulk.rows", "geocli.bulk.keeping"),
        "geocli.bulk.numbering",
    },
}
"""The modules that may import each package."""


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {_name(path): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def _place(module: str) -> str:
    """Return the row of the table that a module stands in."""
    return module if module in ROOMS else f"{module.rpartition('.')[0]}.*"


def _imports(tree: ast.Module) -> set[str]:
    """Return the full names of all modules that a module imports, inside functions and for types too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(MODULES)
            found |= inner or {node.module}
    return found


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_place(module: str) -> None:
    """A new file stands in the table before it is used."""
    assert _place(module) in ROOMS


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_room_allows(module: str) -> None:
    """What a module imports of geocli is in its row."""
    allowed = ROOMS[_place(module)]
    ours = {
        name.removeprefix("geocli").removeprefix(".") for name in _imports(MODULES[module]) if name.startswith("geocli")
    }

    wrong = {
        name
        for name in ours - {""}
        if allowed != ANY and not any(name == room or name.startswith(f"{room}.") for room in allowed)
    }

    assert set() == wrong


@pytest.mark.parametrize("module", MODULES)
def test_a_package_is_imported_by_its_owner_alone(module: str) -> None:
    """One module owns each dependency, and nothing is imported that is not declared."""
    foreign = {name.partition(".")[0] for name in _imports(MODULES[module])} - set(sys.stdlib_module_names) - {"geocli"}

    assert set() == {name for name in foreign if _place(module) not in OWNERS[name]}


def test_only_settings_reads_the_environment() -> None:
    """`os.environ` is read in one module; others set variables: for `--no-color`, numpy, Dask and zig."""
    readers = {
        module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }

    assert {
        "geocli.settings",
        "geocli.cli.app",
        "geocli.bulk",
        "geocli.cluster.forkserver",
        "geocli.engine.build_kernel",
    } == readers


def test_only_the_default_clock_reads_the_time() -> None:
    """The library is told what time it is; `utc_now` is the default that may be replaced."""
    readers = {
        module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"} and not _is_value(node)
    }

    assert {"geocli.cache"} == readers


def _is_value(node: ast.Attribute) -> bool:
    """Tell whether `now` is a field rather than the clock of `datetime`."""
    return not (isinstance(node.value, ast.Name) and node.value.id in {"datetime", "date", "time"})


def test_no_file_and_no_function_has_grown_too_long() -> None:
    """Files end before 350 lines, functions before 60, and nine of ten before 30."""
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
