"""Examples in docstrings print the shown output, and everything public is documented."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil

import pytest

import geocli

MODULES = ["geocli", *(module.name for module in pkgutil.walk_packages(geocli.__path__, "geocli."))]
WITH_EXAMPLES = {
    *("geocli", "geocli.addresses", "geocli.models", "geocli.errors", "geocli.sanitize"),
    *("geocli.cli.options", "geocli.formats.text_map", "geocli.countries"),
}


@pytest.fixture(autouse=True)
def _no_databases(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let the built-in data answer examples, regardless of the databases on this machine."""
    config = tmp_path_factory.mktemp("config") / "config.toml"
    config.write_text("system_databases = false\n")
    monkeypatch.setenv("GEOCLI_CONFIG", str(config))
    monkeypatch.setenv("GEOCLI_DB_DIR", os.devnull)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "geocli.__main__"])
def test_the_examples_of_a_module(name: str) -> None:
    """Each example is run; modules that newcomers read first have some."""
    failures, examples = doctest.testmod(importlib.import_module(name))

    assert 0 == failures
    assert name not in WITH_EXAMPLES or examples


@pytest.mark.parametrize("name", sorted(set(geocli.__all__) - {"__version__"}))
def test_everything_public_has_a_docstring(name: str) -> None:
    """`help(geocli.NAME)` begins with a sentence, and methods have docstrings."""
    actual = getattr(geocli, name)
    methods = [getattr(actual, method) for method in vars(actual) if not method.startswith("_")]

    assert actual.__doc__.partition("\n")[0].endswith((".", ":"))
    assert [] == [method for method in methods if callable(method) and not method.__doc__]


def test_the_package_is_typed() -> None:
    """Type checkers look for this file (PEP 561)."""
    assert os.path.exists(os.path.join(geocli.__path__[0], "py.typed"))
