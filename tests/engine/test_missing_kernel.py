"""Without the kernel, rows are the same, and large batches report that it is missing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import geocli as package
from geocli.engine.kernel import LIBRARY
from tests.helpers.command_output import complaints

if TYPE_CHECKING:
    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

MANY = "".join(f"81.2.{at >> 8 & 255}.{at & 255}\n2001:218::{at & 255:x}\nx\n" for at in range(40_000)).encode()
VALID = MANY.replace(b"\nx\n", b"\n")


@pytest.fixture
def without_kernel(located: Geocli, tmp_path: Path) -> Geocli:
    """Run a copy of geocli without the kernel."""
    copy = tmp_path / "copy"
    ignored = shutil.ignore_patterns("__pycache__", "kernel.shared*")
    shutil.copytree(Path(package.__file__).parent, copy / "geocli", ignore=ignored)
    start = f"import sys; sys.path.insert(0, {str(copy)!r}); from geocli.__main__ import main; main()"
    located.command = (sys.executable, "-c", start)
    return located


def message(geocli: Geocli) -> str:
    path = LIBRARY.replace(str(Path(package.__file__).parent.parent), str(geocli.data_dir.parent / "copy"))
    return f"{path}: missing, so large batches are slow; install a C compiler and reinstall geocli"


@pytest.mark.parametrize("options", [("--no-cache",), ("-j", "2")])
def test_many_lines_are_answered_alike(located: Geocli, without_kernel: Geocli, options: tuple[str, ...]) -> None:
    """The rows are the same, and one line on standard error names the missing file and the remedy."""
    command, without_kernel.command = without_kernel.command, type(located).command
    expected = located("batch", "-F", "ip,city,asn,network,status", *options, stdin=MANY)
    shutil.rmtree(located.data_dir, ignore_errors=True)
    without_kernel.command = command
    actual = without_kernel("batch", "-F", "ip,city,asn,network,status", *options, stdin=MANY)

    assert expected.stdout.splitlines() == actual.stdout.splitlines()
    (invalid,) = complaints(expected)
    assert "40000 of 120000 lines had no address" in invalid
    assert (0, 0) == (expected.returncode, actual.returncode)
    assert [message(without_kernel), invalid] == complaints(actual)


def test_the_message_comes_once_for_several_files(without_kernel: Geocli, tmp_path: Path) -> None:
    """Also if each of them is short."""
    file = tmp_path / "some.txt"
    file.write_bytes(VALID[: VALID.index(b"\n", len(VALID) * 2 // 5) + 1])
    once, often = (without_kernel("batch", "--no-cache", "-F", "ip", *[str(file)] * count) for count in (1, 5))

    assert (0, b"") == (once.returncode, once.stderr)
    assert [message(without_kernel)] == complaints(often)


@pytest.mark.parametrize("mode", ["--no-cache", "--cached-only"])
def test_a_small_batch_has_no_message(without_kernel: Geocli, mode: str) -> None:
    """Nor has a large one from the cache, which would not use the kernel."""
    small = without_kernel(
        "batch", mode, "-F", "ip", stdin=VALID[: VALID.index(b"\n", 100_000) + 1] if mode == "--no-cache" else VALID
    )

    assert (0, b"") == (small.returncode, small.stderr)


def test_the_log_names_the_kernel(without_kernel: Geocli) -> None:
    """With -v, for batches of any size."""
    for expected in ("missing", "loaded"):
        *_, event = without_kernel("-v", "batch", stdin=b"81.2.69.160\n").stderr.splitlines()
        assert ("batch", expected) == (json.loads(event)["event"], json.loads(event)["kernel"])
        without_kernel.command = (sys.executable, "-m", "geocli")


@pytest.mark.parametrize("options", [("-i", "log"), ("--extract",), ("-i", "csv"), ("-i", "jsonl")])
def test_every_kind_of_input(without_kernel: Geocli, options: tuple[str, ...]) -> None:
    """Large input is divided without the kernel, too."""
    texts = {
        "log": b"GET from 81.2.69.160 and 10.0.0.1\n",
        "--extract": b"GET from 81.2.69.160 and 10.0.0.1\n",
        "csv": b"a,81.2.69.160\n",
        "jsonl": b'{"ip": "81.2.69.160"}\n',
    }
    header = b"id,ip\n" if options[-1] == "csv" else b""
    text = header + texts[options[-1]] * 1000
    actual = without_kernel("batch", "--no-cache", "-F", "city", *options, stdin=text)
    without_kernel.command = (sys.executable, "-m", "geocli")
    expected = without_kernel("batch", "--no-cache", "-F", "city", *options, stdin=text)

    assert (expected.returncode, expected.stdout, b"") == (actual.returncode, actual.stdout, actual.stderr)


def test_an_address_is_appended_once(without_kernel: Geocli) -> None:
    """Although it occurs in several blocks."""
    lines = "".join(f"81.2.69.{at}\n" for at in range(256)).encode()
    assert 0 == without_kernel("batch", "-o", "/dev/null", stdin=lines * 400).returncode
    report = json.loads(without_kernel("flush", "--json").stdout)

    assert 256 == report["flushed"]
    assert 1 << 16 > len(
        (without_kernel.data_dir / "journal").read_bytes() if (without_kernel.data_dir / "journal").exists() else b""
    )
