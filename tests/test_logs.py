"""Events are for those who ask with -v: on standard error, as JSON lines unless a person is there."""

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

from tests.building import CITIES, TOKYO, build

if TYPE_CHECKING:
    from tests.conftest import Geocli

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
    """Look an address up, then install a database in which it has moved to another country."""
    assert 0 == located("lookup", "81.2.69.160").returncode
    assert 0 == located("flush").returncode
    build(located.db_dir / "GeoLite2-City.mmdb", {**CITIES, "81.2.69.0/24": TOKYO}, build_epoch=1_790_000_000)
    return located


class TestCommandLine:
    def test_events_are_json_lines_on_standard_error(self, located: Geocli) -> None:
        """With -v a program on standard error reads what happened, when; standard output is for data alone."""
        found = _moved(located)("-v", "re-resolve")
        asked, event = _events(found.stderr)
        assert {"event": "asked", "ip": "81.2.69.160", "problems": 0}.items() <= asked.items()
        assert 0 <= asked["seconds"] < 60
        assert asked["source"].startswith("GeoLite2-City")
        at = datetime.fromisoformat(event.pop("timestamp"))
        expected = {"event": "country changed", "ip": "81.2.69.160", "before": "GB", "after": "JP", "level": "info"}
        assert expected == event
        assert UTC.utcoffset(None) == at.utcoffset()
        assert (0, b"") == (found.returncode, found.stdout)

    def test_data_stay_on_standard_output(self, located: Geocli) -> None:
        """With -v standard output holds what it holds without: one JSON object, and no event."""
        found = _moved(located)("--verbose", "re-resolve", "--json")
        assert {"retried": 1, "changed": 1}.items() <= json.loads(found.stdout).items()
        assert ["asked", "country changed"] == [event["event"] for event in _events(found.stderr)]

    def test_a_lookup_tells_who_was_asked_and_how_long_it_took(self, located: Geocli) -> None:
        """With -v, one event for each address for which a source was asked, and one for all of them."""
        missed = _events(located("-v", "lookup", "81.2.69.160", "10.0.0.1").stderr)
        located("flush")
        hit = _events(located("-v", "lookup", "81.2.69.160").stderr)

        assert ["asked", "asked", "looked up", "looked up"] == [event["event"] for event in (*missed, *hit)]
        assert [(2, 0), (1, 1)] == [(events[-1]["addresses"], events[-1]["cached"]) for events in (missed, hit)]
        assert [] == [event for event in (*missed, *hit) if not 0 <= event["seconds"] < 60]

    def test_a_batch_tells_whom_it_asked_and_how_long_it_took(self, located: Geocli) -> None:
        """One event for all lines, since there may be millions; what is looked up by itself has its own."""
        lines = "".join(f"81.2.69.{number % 256}\n" for number in range(2000)).encode()
        (event,) = _events(located("-v", "batch", stdin=lines).stderr)

        assert ("batch", ["-"]) == (event["event"], event["files"])
        assert "GeoLite2-City.mmdb" in event["sources"]
        assert 0 <= event["seconds"] < 60

    def test_without_v_there_are_no_events(self, located: Geocli) -> None:
        """Cron sees nothing, whatever happens."""
        found = _moved(located)("re-resolve")
        assert (0, b"", b"") == (found.returncode, found.stdout, found.stderr)


class TestLibrary:
    def test_without_be_verbose_nothing_is_written_or_loaded(self) -> None:
        """A program that does not ask for events pays nothing for them."""
        program = """
import sys
from geocli import logs
logs.log("happened", number=3)
assert not logs.is_verbose()
print("structlog" in sys.modules)
"""
        found = _run(program)
        assert (b"False\n", b"") == (found.stdout, found.stderr)

    def test_hostile_text_is_escaped_in_json(self) -> None:
        """An event is one line of ASCII, whatever is in it, and reads back as it was."""
        found = _run(EVENT)
        assert b"" == found.stdout
        assert found.stderr.endswith(b"\n")
        assert found.stderr[:-1].decode("ascii").isprintable()
        (event,) = _events(found.stderr)
        assert (HOSTILE, HOSTILE, 3) == (event["event"], event["text"], event["number"])

    def test_hostile_text_is_escaped_on_a_terminal(self) -> None:
        """People read names and values, escaped so that a terminal only shows them."""
        terminal, side = pty.openpty()
        with subprocess.Popen([sys.executable, "-c", EVENT], stdout=subprocess.PIPE, stderr=side) as process:
            os.close(side)
            shown = _read(terminal).decode()
            assert process.stdout is not None
            assert b"" == process.stdout.read()
        assert 0 == process.returncode
        escaped = re.escape(r"\x1b[31m\x9b2J\u202eevil\r\n\x07\ud800")
        assert re.fullmatch(rf"\d\d:\d\d:\d\d {escaped} +number=3 text={escaped}\r\n", shown)
        assert shown[:-2].isprintable()

    @pytest.mark.parametrize("is_verbose", [False, True])
    def test_problems_of_a_cache_are_events(self, is_verbose: bool, geocli: Geocli) -> None:  # noqa: FBT001
        """A program that uses the library sees a damaged database as an event, and gets its answer."""
        (geocli.db_dir / "a.mmdb").write_bytes(b"not a database")
        program = f"""
from geocli import GeoCache, logs
if {is_verbose}:
    logs.be_verbose()
with GeoCache() as cache:
    print(cache.lookup("10.0.0.1").status)
"""
        found = subprocess.run(
            [sys.executable, "-c", program], env=geocli.environ, capture_output=True, timeout=60, check=True
        )
        assert b"special\n" == found.stdout
        events = _events(found.stderr)
        assert [("problem", f"{geocli.db_dir}/a.mmdb")] * is_verbose == [
            (event["event"], event["error"].split(": ")[0]) for event in events if event["event"] == "problem"
        ]


def _read(terminal: int) -> bytes:
    """Read a terminal until nobody has it open any more, which Linux reports as an error."""
    data = b""
    try:
        while piece := os.read(terminal, 1 << 16):
            data += piece
    except OSError:
        pass
    finally:
        os.close(terminal)
    return data
