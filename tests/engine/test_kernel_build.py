"""The kernel is compiled with `cc` or zig; where that fails, the package is installed without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LIBRARY = "geocli/engine/kernel.shared"
LOADS = "from geocli.engine import kernel; raise SystemExit(kernel.load() is None)"
PIP = (sys.executable, "-m", "pip")
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy the source tree without the files of earlier builds."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "geocli", tree / "geocli", ignore=shutil.ignore_patterns("__pycache__", "kernel.shared*"))
    for name in ("pyproject.toml", "README.md", ".gitignore"):
        shutil.copy(ROOT / name, tree)
    return tree


@pytest.fixture
def no_compiler(tmp_path: Path) -> str:
    """Return a PATH without any command."""
    directory = tmp_path / "no-commands"
    directory.mkdir()
    return str(directory)


@pytest.fixture
def failing_compiler(tmp_path: Path) -> str:
    """Return a PATH with a `cc` that fails."""
    compiler = tmp_path / "failing" / "cc"
    compiler.parent.mkdir()
    compiler.write_text("#!/bin/sh\necho no headers >&2\nexit 1\n")
    compiler.chmod(0o755)
    return str(compiler.parent)


def _backend(tree: Path, call: str, *, path: str | None = None) -> str:
    """Call a function of the build backend as pip does (PEP 517), and return what it returned."""
    environ = {**os.environ, "PATH": path or os.environ["PATH"]}
    code = f"from hatchling import build; print(build.{call})"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=tree, env=environ, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()[-1]


def _wheel(tree: Path, *, path: str | None = None) -> Path:
    return tree / "dist" / _backend(tree, "build_wheel('dist')", path=path)


def _install(wheel: Path, home: Path) -> Path:
    """Install a wheel into a new environment, and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python = home / "bin" / "python"
    subprocess.run([*PIP, "--python", python, "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    return python


def _loads(python: Path, cwd: Path) -> bool:
    """Return whether a Python loads the kernel of its installed package."""
    return not subprocess.run([python, "-c", LOADS], cwd=cwd, check=False).returncode


@needs_cc
def test_a_wheel_with_the_kernel_loads_in_a_fresh_environment(tree: Path, tmp_path: Path) -> None:
    """Its tag is for this platform and any Python 3, and no compiler is needed to install it."""
    assert "[]" == _backend(tree, "get_requires_for_build_wheel()")

    wheel = _wheel(tree)

    assert "-py3-none-" in wheel.name
    assert "-any" not in wheel.name
    assert _loads(_install(wheel, tmp_path / "fresh"), tmp_path)


@needs_cc
def test_an_editable_install_compiles_each_time(tree: Path, tmp_path: Path) -> None:
    """The library is in the source tree, and the next install replaces it."""
    library = tree / LIBRARY
    wheel = tree / "dist" / _backend(tree, "build_editable('dist')")
    first = library.stat().st_ino
    (tree / "geocli" / "engine" / "kernel.c").open("a").write("\nint another(void) { return 0; }\n")
    _backend(tree, "build_editable('dist')")

    assert _loads(_install(wheel, tmp_path / "fresh"), tmp_path)
    assert LIBRARY not in zipfile.ZipFile(wheel).namelist()
    assert first != library.stat().st_ino
    assert b"another" in library.read_bytes()


@needs_cc
def test_a_library_of_another_source_is_not_loaded(tree: Path) -> None:
    """Changing the source without compiling it has the same effect as no library, but another message."""
    _backend(tree, "build_editable('dist')")
    assert _loads(Path(sys.executable), tree)
    (tree / "geocli" / "engine" / "kernel.c").open("a").write("\n")

    assert not _loads(Path(sys.executable), tree)
    code = "from geocli.engine import kernel; print(kernel.problem())"
    run = subprocess.run([sys.executable, "-c", code], cwd=tree, check=True, stdout=subprocess.PIPE, text=True)
    assert "compiled from another kernel.c\n" == run.stdout


@pytest.mark.parametrize("version", [pytest.param("geocli_version(void) { return 0; }", marks=needs_cc), None])
def test_another_library_is_not_loaded(tree: Path, version: str | None) -> None:
    """Of another version, or a file that is not a library."""
    if version is None:
        (tree / LIBRARY).write_bytes(b"not a library")
    else:
        source = tree / "stub.c"
        source.write_text(f"int {version}\n")
        subprocess.run(["cc", "-fPIC", "-shared", "-o", tree / LIBRARY, source], check=True)

    assert not _loads(Path(sys.executable), tree)


def test_the_source_distribution_contains_no_compiled_file(tree: Path) -> None:
    """Only the source."""
    (tree / LIBRARY).write_bytes(b"compiled")

    sdist = tree / "dist" / _backend(tree, "build_sdist('dist')")
    names = subprocess.run(["tar", "tzf", sdist], check=True, stdout=subprocess.PIPE, text=True).stdout

    assert "geocli/engine/kernel.c\n" in names
    assert "kernel.shared" not in names


def test_a_compiler_that_fails_leaves_the_scalar_path(tree: Path, failing_compiler: str, tmp_path: Path) -> None:
    """The wheel is for any platform, without a library, and an old library is removed."""
    (tree / LIBRARY).write_bytes(b"compiled from an older source")

    wheel = _wheel(tree, path=failing_compiler)

    assert wheel.name.endswith("-py3-none-any.whl")
    assert LIBRARY not in zipfile.ZipFile(wheel).namelist()
    assert not (tree / LIBRARY).exists()
    assert not _loads(_install(wheel, tmp_path / "fresh"), tmp_path)


def test_without_compiler_and_zig_there_is_the_scalar_path(tree: Path, no_compiler: str) -> None:
    """A build without its requirements succeeds, as in Linux distributions."""
    assert "ziglang" in _backend(tree, "get_requires_for_build_wheel()", path=no_compiler)
    assert _wheel(tree, path=no_compiler).name.endswith("-py3-none-any.whl")


def test_pip_installs_a_compiler_where_there_is_none(tree: Path, no_compiler: str, tmp_path: Path) -> None:
    """Pip installs zig for the build, and the kernel loads; skipped without a package index."""
    if subprocess.run([*PIP, "install", "-q", "--dry-run", "--no-deps", "ziglang"], check=False).returncode:
        pytest.skip("no package index, or it has no zig for this machine")

    environ = {**os.environ, "PATH": no_compiler}
    subprocess.run([*PIP, "wheel", "-q", "--no-deps", "--wheel-dir", tmp_path / "dist", tree], check=True, env=environ)
    (wheel,) = (tmp_path / "dist").iterdir()

    assert "-any" not in wheel.name
    assert _loads(_install(wheel, tmp_path / "fresh"), tmp_path)
