"""Without the kernel all is looked up one by one, with the same results, and whoever has much of it is told."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import geocli as package
from geocli.engine.kernel import LIBRARY
from tests.helpers.command_line import complaints

if TYPE_CHECKING:
    from tests.conftest import Geocli

pytestmark = pytest.mark.slow

MANY = "".join(f"81.2.{at >> 8 & 255}.{at & 255}\n2001:218::{at & 255:x}\nx\n" for at in range(40_000)).encode()


@pytest.fixture
def lacking(located: Geocli, tmp_path: Path) -> Geocli:
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


@pytest.mark.unmeasured
@pytest.mark.parametrize("options", [("--no-cache",), ("-j", "2")])
def test_many_lines_are_answered_alike(located: Geocli, lacking: Geocli, options: tuple[str, ...]) -> None:
    """The rows are the same, and one line on standard error says what is missing, and what to do."""
    command, lacking.command = lacking.command, type(located).command
    expected = located("batch", "-F", "ip,city,asn,network,status", *options, stdin=MANY)
    shutil.rmtree(located.data_dir, ignore_errors=True)
    lacking.command = command
    found = lacking("batch", "-F", "ip,city,asn,network,status", *options, stdin=MANY)

    assert expected.stdout.splitlines() == found.stdout.splitlines()
    assert (0, b"") == (expected.returncode, expected.stderr)
    assert (0, [message(lacking)]) == (found.returncode, complaints(found))


@pytest.mark.unmeasured
def test_it_is_said_once_for_several_files(lacking: Geocli, tmp_path: Path) -> None:
    """None of which alone is long."""
    file = tmp_path / "some.txt"
    file.write_bytes(MANY[: len(MANY) // 3])
    once, often = (lacking("batch", "--no-cache", "-F", "ip", *[str(file)] * count) for count in (1, 5))

    assert (0, b"") == (once.returncode, once.stderr)
    assert [message(lacking)] == complaints(often)


@pytest.mark.parametrize("mode", ["--no-cache", "--cached-only"])
def test_a_small_batch_says_nothing(lacking: Geocli, mode: str) -> None:
    """It takes as long as with the kernel, nearly; and what the cache alone answers is not for the kernel."""
    small = lacking("batch", mode, "-F", "ip", stdin=MANY[:100_000] if mode == "--no-cache" else MANY)

    assert (0, b"") == (small.returncode, small.stderr)


def test_events_say_so(lacking: Geocli) -> None:
    """With -v, however small a batch is."""
    for expected in ("missing", "loaded"):
        *_, event = lacking("-v", "batch", stdin=b"81.2.69.160\n").stderr.splitlines()
        assert ("batch", expected) == (json.loads(event)["event"], json.loads(event)["kernel"])
        lacking.command = (sys.executable, "-m", "geocli")


@pytest.mark.parametrize("options", [("-i", "log"), ("--extract",), ("-i", "csv"), ("-i", "jsonl")])
def test_every_kind_of_input(lacking: Geocli, options: tuple[str, ...]) -> None:
    """Large ones are cut without the kernel, too."""
    texts = {
        "log": b"GET from 81.2.69.160 and 10.0.0.1\n",
        "--extract": b"GET from 81.2.69.160 and 10.0.0.1\n",
        "csv": b"a,81.2.69.160\n",
        "jsonl": b'{"ip": "81.2.69.160"}\n',
    }
    header = b"id,ip\n" if options[-1] == "csv" else b""
    text = header + texts[options[-1]] * 1000
    found = lacking("batch", "--no-cache", "-F", "city", *options, stdin=text)
    lacking.command = (sys.executable, "-m", "geocli")
    expected = lacking("batch", "--no-cache", "-F", "city", *options, stdin=text)

    assert (expected.returncode, expected.stdout, b"") == (found.returncode, found.stdout, found.stderr)


def test_an_address_is_kept_once(lacking: Geocli) -> None:
    """Though it comes in several blocks."""
    lines = "".join(f"81.2.69.{at}\n" for at in range(256)).encode()
    assert 0 == lacking("batch", "-o", "/dev/null", stdin=lines * 400).returncode
    report = json.loads(lacking("flush", "--json").stdout)

    assert 256 == report["flushed"]
    assert 1 << 16 > len(
        (lacking.data_dir / "journal").read_bytes() if (lacking.data_dir / "journal").exists() else b""
    )
