"""Events are logged with -v on standard error: as JSON lines, or as text on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.databases import CITIES, TOKYO, build

if TYPE_CHECKING:
    from tests.helpers.geocli_process import Geocli

HOSTILE = "\x1b[31m\x9b2J\u202eevil\r\n\x07\ud800"
EVENT = f"""
from geocli import logs
logs.be_verbose()
assert logs.is_verbose()
logs.log({HOSTILE!r}, text={HOSTILE!r}, number=3)
"""


def _run(program: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=True)


def _events(stderr: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr.splitlines() if line.startswith(b"{")]


def _moved(located: Geocli) -> Geocli:
    """Look up an address, then install a database in which it is in another country."""
    assert 0 == located("lookup", "81.2.69.160").returncode
    assert 0 == located("flush").returncode
    build(located.db_dir / "GeoLite2-City.mmdb", {**CITIES, "81.2.69.0/24": TOKYO}, build_epoch=1_790_000_000)
    return located


class TestCommandLine:
    def test_events_are_json_lines_on_standard_error(self, located: Geocli) -> None:
        """With -v, standard error has an event with a time on each line; standard output has only data."""
        actual = _moved(located)("-v", "re-resolve")
        resolution, change = _events(actual.stderr)
        assert {"event": "asked", "ip": "81.2.69.160", "problems": 0}.items() <= resolution.items()
        assert 0 <= resolution["seconds"] < 60
        assert resolution["source"].startswith("GeoLite2-City")
        at = datetime.fromisoformat(change.pop("timestamp"))
        expected = {"event": "country changed", "ip": "81.2.69.160", "before": "GB", "after": "JP", "level": "info"}
        assert expected == change
        assert UTC.utcoffset(None) == at.utcoffset()
        assert (0, b"") == (actual.returncode, actual.stdout)

    def test_data_stay_on_standard_output(self, located: Geocli) -> None:
        """With -v, standard output is the same as without: one JSON object, and no event."""
        actual = _moved(located)("--verbose", "re-resolve", "--json")
        assert {"retried": 1, "changed": 1}.items() <= json.loads(actual.stdout).items()
        assert ["asked", "country changed"] == [event["event"] for event in _events(actual.stderr)]

    def test_a_lookup_logs_sources_and_durations(self, located: Geocli) -> None:
        """With -v, there is an event for each address for which a source was asked, and one for all of them."""
        missed = _events(located("-v", "lookup", "81.2.69.160", "10.0.0.1").stderr)
        located("flush")
        hit = _events(located("-v", "lookup", "81.2.69.160").stderr)

        assert ["asked", "asked", "looked up", "looked up"] == [event["event"] for event in (*missed, *hit)]
        assert [(2, 0), (1, 1)] == [(events[-1]["addresses"], events[-1]["cached"]) for events in (missed, hit)]
        assert [] == [event for event in (*missed, *hit) if not 0 <= event["seconds"] < 60]

    def test_a_batch_logs_sources_and_its_duration(self, located: Geocli) -> None:
        """There is one event for all lines, as there may be millions; addresses on the scalar path have their own."""
        lines = "".join(f"81.2.69.{number % 256}\n" for number in range(2000)).encode()
        recognised, event = _events(located("-v", "batch", stdin=lines).stderr)

        assert ("recognised", "list") == (recognised["event"], recognised["input"])
        assert ("batch", ["-"]) == (event["event"], event["files"])
        assert "GeoLite2-City.mmdb" in event["sources"]
        assert 0 <= event["seconds"] < 60

    def test_without_v_there_are_no_events(self, located: Geocli) -> None:
        """Without -v, nothing is logged, so cron mails nothing."""
        actual = _moved(located)("re-resolve")
        assert (0, b"", b"") == (actual.returncode, actual.stdout, actual.stderr)


class TestLibrary:
    def test_without_be_verbose_nothing_is_written_or_imported(self) -> None:
        """Without be_verbose(), structlog is not imported."""
        program = """
import sys
from geocli import logs
logs.log("happened", number=3)
assert not logs.is_verbose()
print("structlog" in sys.modules)
"""
        actual = _run(program)
        assert (b"False\n", b"") == (actual.stdout, actual.stderr)

    def test_hostile_text_is_escaped_in_json(self) -> None:
        """An event is one line of ASCII, and parses to the original text."""
        actual = _run(EVENT)
        assert b"" == actual.stdout
        assert actual.stderr.endswith(b"\n")
        assert actual.stderr[:-1].decode("ascii").isprintable()
        (event,) = _events(actual.stderr)
        assert (HOSTILE, HOSTILE, 3) == (event["event"], event["text"], event["number"])

    def test_hostile_text_is_escaped_on_a_terminal(self) -> None:
        """Names and values are escaped, so that they cannot control a terminal."""
        terminal, side = pty.openpty()
        with subprocess.Popen([sys.executable, "-c", EVENT], stdout=subprocess.PIPE, stderr=side) as process:
            os.close(side)
            output = _read(terminal).decode()
            assert process.stdout is not None
            assert b"" == process.stdout.read()
        assert 0 == process.returncode
        escaped = re.escape(r"\x1b[31m\x9b2J\u202eevil\r\n\x07\ud800")
        assert re.fullmatch(rf"\d\d:\d\d:\d\d {escaped} +number=3 text={escaped}\r\n", output)
        assert output[:-2].isprintable()

    @pytest.mark.parametrize("is_verbose", [False, True])
    def test_problems_of_a_cache_are_events(self, is_verbose: bool, geocli: Geocli) -> None:  # noqa: FBT001
        """A program that uses the library gets an event for a damaged database, and its answer."""
        (geocli.db_dir / "a.mmdb").write_bytes(b"not a database")
        program = f"""
from geocli import GeoCache, logs
if {is_verbose}:
    logs.be_verbose()
with GeoCache() as cache:
    print(cache.lookup("10.0.0.1").status)
"""
        actual = subprocess.run(
            [sys.executable, "-c", program], env=geocli.environ, capture_output=True, timeout=60, check=True
        )
        assert b"special\n" == actual.stdout
        events = _events(actual.stderr)
        assert [("problem", f"{geocli.db_dir}/a.mmdb")] * is_verbose == [
            (event["event"], event["error"].split(": ")[0]) for event in events if event["event"] == "problem"
        ]


def _read(terminal: int) -> bytes:
    """Read a terminal until all processes have closed it, which Linux reports as an error."""
    data = b""
    try:
        while piece := os.read(terminal, 1 << 16):
            data += piece
    except OSError:
        pass
    finally:
        os.close(terminal)
    return data
