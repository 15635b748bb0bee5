"""Exit statuses, error lines and closed descriptors, as seen by shells, cron and pipes."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from geocli.console import complain, guard, write
from geocli.errors import (
    AddressError,
    BusyError,
    DatabaseError,
    GeocliError,
    JournalError,
    SettingsError,
    StorageError,
    UpdateError,
)
from geocli.storage.frames import Frame
from geocli.storage.recovery import scan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.measured

BUFFERING = pytest.mark.parametrize("environ", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
FULL = "/dev/full"
needs_full = pytest.mark.skipif(not os.path.exists(FULL), reason="this system has no /dev/full")


def _raise(error: BaseException) -> Callable[[], int]:
    def call() -> int:
        raise error

    return call


def _is_one_clean_line(data: bytes) -> bool:
    text = data.decode()
    return text.startswith("geocli: ") and text.endswith("\n") and text[:-1].isprintable()


def _python(program: str, environ: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environ}, capture_output=True, timeout=60, check=False
    )


class TestGuard:
    @pytest.mark.parametrize(("expected", "returned"), [(0, None), (0, 0), (1, 1), (75, 75)])
    def test_the_return_value_is_the_exit_status(
        self, expected: int, returned: int | None, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A call that returns nothing has succeeded; nothing is printed."""
        assert expected == guard(lambda: returned)
        assert ("", "") == capfd.readouterr()

    @pytest.mark.parametrize(
        ("status", "line", "error"),
        [
            (1, "odd: it happened", GeocliError("odd: it happened")),
            (2, "1.2.3: not an IP address", AddressError("1.2.3", "not an IP address")),
            (2, "/c: key: unknown key", SettingsError("key", "unknown key", origin="/c")),
            (3, "/a.mmdb: empty", DatabaseError("/a.mmdb", "empty")),
            (3, "http://h/: no answer", UpdateError("http://h/", "no answer")),
            (4, "/d: world-writable", StorageError("/d", "world-writable")),
            (4, "/d/journal: not a regular file", JournalError("/d/journal", "not a regular file")),
            (75, "/l: busy: another process held it for 10 s; try again later", BusyError("/l", 10)),
            (1, "/out.csv: No space left on device", OSError(28, "No space left on device", "/out.csv")),
            (1, "standard streams: Input/output error", OSError(5, "Input/output error")),
            (1, "standard streams: odd", OSError("odd")),
            (1, "empty path: Is a directory", OSError(21, "Is a directory", "")),
            (1, "current directory: No such file or directory", OSError(2, "No such file or directory")),
            (1, "out of memory or threads; try a smaller -j", MemoryError("Unable to allocate 64.0 MiB")),
            (1, "out of memory or threads; try a smaller -j", RuntimeError("can't start new thread")),
            (1, "out of memory or threads; try a smaller -j", OSError(12, "Cannot allocate memory", "/out.csv")),
            (
                1,
                "x: failed to map segment: out of memory, or on a file system that is mounted noexec",
                ImportError("x: failed to map segment"),
            ),
            (1, "internal error: ImportError: no x; for a traceback: geocli -v", ImportError("no x")),
            (1, "internal error: ValueError: odd; for a traceback: geocli -v", ValueError("odd")),
            (4, r"/d\nevil\x1b[2J: empty", StorageError("/d\nevil\x1b[2J", "empty")),
        ],
        ids=lambda case: type(case).__name__,
    )
    def test_an_error_is_one_line_and_its_exit_status(
        self, status: int, line: str, error: Exception, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Any error is one escaped line on standard error, without a traceback; standard output is empty."""
        assert status == guard(_raise(error))
        assert ("", f"geocli: {line}\n") == capfd.readouterr()

    def test_an_interruption_is_silent(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Ctrl-C prints nothing."""
        assert 130 == guard(_raise(KeyboardInterrupt()))
        assert ("", "") == capfd.readouterr()

    def test_a_traceback_is_printed_with_v(self, capfd: pytest.CaptureFixture[str]) -> None:
        """With -v, the line follows a traceback on standard error."""
        assert 1 == guard(_raise(ValueError("odd")), is_verbose=lambda: True)
        actual = capfd.readouterr()
        assert actual.err.startswith("Traceback (most recent call last):\n")
        assert actual.err.endswith("\ngeocli: internal error: ValueError: odd; for a traceback: geocli -v\n")
        assert "" == actual.out

    @BUFFERING
    def test_output_is_flushed_when_the_call_returns(self, environ: dict[str, str]) -> None:
        """Output is flushed when the call returns, so the process may exit immediately."""
        program = "import os; from geocli.console import guard; os._exit(guard(lambda: print('out')))"
        actual = _python(program, environ)
        assert (0, b"out\n", b"") == (actual.returncode, actual.stdout, actual.stderr)

    @needs_full
    def test_a_full_disk_is_an_error(self) -> None:
        """Output that cannot be written at the end is an error."""
        program = (
            "import os, sys; from geocli.console import guard; sys.stdout = open('/dev/full', 'w'); "
            "os._exit(guard(lambda: print('out')))"
        )
        actual = _python(program, {})
        assert (1, b"geocli: standard streams: No space left on device\n") == (actual.returncode, actual.stderr)

    def test_complain(self, capfd: pytest.CaptureFixture[str]) -> None:
        """A complaint is one line, whatever characters it contains."""
        complain("stats: journal\n\u202eold")
        assert ("", "geocli: stats: journal\\n\\u202eold\n") == capfd.readouterr()


class TestWrite:
    @BUFFERING
    def test_interrupted_writes_are_completed(self, environ: dict[str, str]) -> None:
        """A signal during a large write loses nothing, with and without Python's buffer."""
        program = """
import os, signal
from geocli.console import write
signal.signal(signal.SIGALRM, lambda *_: os.write(2, b"!"))
signal.setitimer(signal.ITIMER_REAL, 0.1)
write(b"0123456789abcdef" * 65536)
os._exit(0)
"""
        with subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert b"!" == process.stderr.read(1), "the signal comes while the pipe is full"
            assert b"0123456789abcdef" * 65536 == process.stdout.read()
        assert 0 == process.returncode

    @BUFFERING
    def test_written_immediately(self, environ: dict[str, str]) -> None:
        """Data is written when the call returns."""
        actual = _python("import os; from geocli.console import write; write(b'a\\n\\xff'); os._exit(0)", environ)
        assert b"a\n\xff" == actual.stdout

    def test_nothing(self, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        """Writing no data returns at once."""
        write(b"")
        assert (b"", b"") == capfdbinary.readouterr()


@pytest.mark.slow
class TestClosedDescriptors:
    @pytest.mark.parametrize(
        "closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"], ids=str
    )
    def test_no_file_gets_their_descriptors(self, closed: str, located: Geocli) -> None:
        """With standard streams closed the answer is stored, and no output gets into the journal or the store."""
        address = "81.2.69.160"
        for arguments in (["lookup", address], ["lookup", "--refresh", address]):
            assert 0 == _in_shell(located, closed, *arguments).returncode
        with open(located.data_dir / "journal", "rb") as journal:
            actual = [item for _, item in scan(journal)]
        assert [[address], [address]] == [
            [entry.ip for entry in frame.entries()] if isinstance(frame, Frame) else [] for frame in actual
        ]
        assert 0 == _in_shell(located, closed, "flush").returncode
        assert b'"city": "London"' in located("lookup", "--cached-only", "-f", "jsonl", address).stdout

    @pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
    def test_an_open_output_still_gets_the_answer(self, closed: str, located: Geocli) -> None:
        """The streams that are open work as usual."""
        arguments = ("lookup", "-F", "ip,status,scope", "10.0.0.1")
        assert located(*arguments).stdout == _in_shell(located, closed, *arguments).stdout

    @pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
    @pytest.mark.parametrize("address", ["8.8.8", "münchen.de"])
    def test_an_error_keeps_its_exit_status(self, closed: str, address: str, geocli: Geocli) -> None:
        """If the error line cannot be written, the exit status still reports the error."""
        geocli.environ |= {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
        assert 2 == _in_shell(geocli, closed, "lookup", address).returncode

    def test_a_closed_input_is_empty(self, geocli: Geocli) -> None:
        """Without standard input there are no addresses to read."""
        actual = _in_shell(geocli, "<&-", "lookup", "-")
        assert (b"", b"") == (actual.stdout, actual.stderr)


def _in_shell(geocli: Geocli, redirections: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run geocli with the redirections of a shell."""
    command = ["sh", "-c", f'exec "$@" {redirections}', "sh", *geocli.command, *arguments]
    return subprocess.run(command, env=geocli.environ, capture_output=True, timeout=60, check=False)


def _to_closed_pipe(
    geocli: Geocli, environ: dict[str, str], *arguments: str, stream: str = "stdout"
) -> tuple[int, bytes, bytes]:
    """Run geocli with a standard stream whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writer}
    command, everything = [*geocli.command, *arguments], {**geocli.environ, **environ}
    with subprocess.Popen(
        command, env=everything, stdin=subprocess.DEVNULL, stdout=streams["stdout"], stderr=streams["stderr"]
    ) as process:
        os.close(writer)
        stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout or b"", stderr or b""


class TestClosedPipe:
    @BUFFERING
    @pytest.mark.parametrize(
        "arguments",
        [
            ("lookup", "81.2.69.160"),
            ("lookup", "-f", "csv", "81.2.69.160"),
            ("lookup", "-f", "json", "81.2.69.160"),
            ("lookup", "-f", "table", "81.2.69.160"),
            ("flush", "--json"),
            ("stats",),
            ("stats", "-f", "table"),
            ("db", "list"),
            ("--version",),
            ("-h",),
            ("lookup", "-h"),
            (),
        ],
        ids=" ".join,
    )
    def test_it_is_silent(self, arguments: tuple[str, ...], environ: dict[str, str], located: Geocli) -> None:
        """When the reader has exited, every command ends with 141 and prints nothing."""
        assert (141, b"", b"") == _to_closed_pipe(located, environ, *arguments)

    @BUFFERING
    def test_the_answer_is_stored(self, environ: dict[str, str], located: Geocli) -> None:
        """Answers that were not read are in the cache."""
        _to_closed_pipe(located, environ, "lookup", "81.2.69.160")
        assert b'"city": "London"' in located("lookup", "--cached-only", "-f", "jsonl", "81.2.69.160").stdout

    @BUFFERING
    def test_head_gets_its_lines(self, environ: dict[str, str], located: Geocli) -> None:
        """A reader that exits early gets its lines, and batch ends silently."""
        lines = located.data_dir.with_name("lines")
        lines.write_text("81.2.69.160\n" * 200_000)
        located.environ |= environ
        with located.start("batch", "-f", "value", "-F", "city", str(lines)) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert b"London\n" == process.stdout.readline()
            process.stdout.close()
            assert b"" == process.stderr.read()
        assert 141 == process.returncode

    def test_buffered_output_is_discarded(self) -> None:
        """At exit, the interpreter does not report output that is still buffered."""
        program = """
import os, sys
from geocli.console import guard
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 1)
def call():
    sys.stdout.write("x" * 10)
status = guard(call)
sys.stdout.write("more")
sys.stdout.flush()
sys.exit(status)
"""
        actual = _python(program, {})
        assert (141, b"") == (actual.returncode, actual.stderr)

    def test_errors_without_a_reader_keep_the_exit_status(self, geocli: Geocli) -> None:
        """When the reader of standard error has exited, answers are printed and the exit status is the error's."""
        status, stdout, _ = _to_closed_pipe(geocli, {}, "lookup", "8.8.8", stream="stderr")
        assert b'"status": "invalid"' in stdout
        assert 2 == status


@needs_full
class TestFullDisk:
    @BUFFERING
    @pytest.mark.parametrize(
        "arguments",
        [("lookup", "81.2.69.160"), ("lookup", "-f", "table", "81.2.69.160"), ("stats",), ("--version",), ("-h",)],
        ids=" ".join,
    )
    def test_output_that_cannot_be_written_is_an_error(
        self, arguments: tuple[str, ...], environ: dict[str, str], located: Geocli
    ) -> None:
        """A command whose output cannot be written reports that, and does not exit with 0."""
        located.environ |= environ
        actual = _in_shell(located, f"> {FULL}", *arguments)
        assert (1, b"geocli: standard streams: No space left on device\n") == (actual.returncode, actual.stderr)

    @BUFFERING
    @pytest.mark.parametrize(
        ("status", "arguments"), [(2, ("lookup", "8.8.8")), (2, ("nonsense",)), (2, ("--config", "/missing", "flush"))]
    )
    def test_errors_that_cannot_be_written_keep_the_exit_status(
        self, status: int, arguments: tuple[str, ...], environ: dict[str, str], located: Geocli
    ) -> None:
        """If the error line cannot be written, the exit status still reports the error."""
        located.environ |= environ
        assert status == _in_shell(located, f"2> {FULL}", *arguments).returncode


class TestInterruption:
    @BUFFERING
    def test_ctrl_c_in_a_pipe(self, environ: dict[str, str], located: Geocli) -> None:
        """A batch that is interrupted while it waits for input ends with 130 and prints nothing."""
        located.environ |= environ
        with located.start("batch", bufsize=0) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write(b"81.2.69.160\n")
            assert select.select([process.stdout], [], [], 60)[0], "rows come out at once"
            process.send_signal(signal.SIGINT)
            assert b"" == process.stderr.read()
        assert 130 == process.returncode


HOSTILE = "\x1b[31m\x9b2J\u202eevil\r\n\x07"


class TestErrorLines:
    @pytest.mark.parametrize(
        ("status", "arguments"),
        [
            (2, ("lookup", HOSTILE)),
            (2, ("lookup", "-f", "value", "-F", "ip", "--quiet", HOSTILE)),
            (2, ("lookup", "-F", HOSTILE, "10.0.0.1")),
            (2, ("lookup", "-f", HOSTILE, "10.0.0.1")),
            (2, ("lookup", f"--{HOSTILE}", "10.0.0.1")),
            (2, ("--config", f"/missing{HOSTILE}", "flush")),
            (2, (f"--{HOSTILE}",)),
            (2, (HOSTILE,)),
            (2, ("flush", HOSTILE)),
            (2, ("flush", "--wait", HOSTILE)),
            (2, ("clear", "--older-than", HOSTILE)),
            (3, ("lookup", "--db", f"/missing{HOSTILE}", "81.2.69.160")),
            (4, ("--data-dir", f"/dev/null/{HOSTILE}", "flush")),
        ],
    )
    def test_hostile_text_is_escaped(self, status: int, arguments: tuple[str, ...], geocli: Geocli) -> None:
        """Whatever text an error quotes, standard error gets one line without control characters."""
        actual = geocli(*arguments)
        assert _is_one_clean_line(actual.stderr), actual.stderr
        assert rb"\x1b[31m\x9b2J\u202eevil" in actual.stderr
        assert status == actual.returncode

    @pytest.mark.parametrize(
        "arguments", [("--config", f"/missing{HOSTILE}", "flush"), ("lookup", "-F", HOSTILE, "::")]
    )
    def test_hostile_text_is_escaped_in_a_traceback_too(self, arguments: tuple[str, ...], geocli: Geocli) -> None:
        """With -v, the traceback has no control characters either."""
        actual = geocli("-v", *arguments)
        assert actual.stderr.startswith(b"Traceback (most recent call last):\n")
        assert all(line.isprintable() for line in actual.stderr.decode().split("\n"))

    def test_bytes_that_are_not_utf_8_are_escaped(self, geocli: Geocli) -> None:
        """An argument that is not UTF-8 is quoted with its bytes."""
        actual = geocli("lookup", os.fsdecode(b"caf\xe9\xff"))
        assert b"geocli: caf\\xe9\\xff: not an IP address\n" == actual.stderr
        assert 2 == actual.returncode

    def test_characters_outside_the_locale_are_escaped(self, geocli: Geocli) -> None:
        """In a locale that is not UTF-8, other characters are escaped."""
        ascii_only = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
        actual = geocli("lookup", "münchen.de", environ=ascii_only)
        assert re.fullmatch(rb"geocli: m[\\a-z0-9]+nchen\.de: not an IP address\n", actual.stderr)
        assert 2 == actual.returncode

    def test_hostile_names_of_files_are_escaped(self, geocli: Geocli, tmp_path: Path) -> None:
        """A damaged database with a hostile name is reported in one escaped line."""
        (geocli.db_dir / f"{HOSTILE}.mmdb").write_bytes(b"not a database")
        actual = geocli("lookup", "81.2.69.160")
        assert _is_one_clean_line(actual.stderr), actual.stderr
        assert rf"{tmp_path}/databases/\x1b[31m\x9b2J\u202eevil\r\n\x07.mmdb: ".encode() in actual.stderr
