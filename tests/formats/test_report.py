"""Pages about a batch and the cache: static, self-contained, and safe from hostile names."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from geocli.formats.svg_map import CLASSES, classes, country_map
from tests.helpers.command_output import complaint
from tests.helpers.databases import LONDON, NETWORKS, TOKYO, build

if TYPE_CHECKING:
    from tests.helpers.geocli_process import Geocli

HOSTILE = "</title><script>alert(1)</script>\"'><img src=//example.com/x onerror=alert(2)>\x1b[31m\u202e&amp;"
LOG = b"".join(
    b'%s - - [26/Nov/2026:%02d:12:31 +0000] "GET / HTTP/1.1" 200 1\n' % (address, hour)
    for hour in range(24)
    for address in (b"81.2.69.160", b"81.2.69.161", b"2001:218::1", b"10.0.0.1", b"127.0.0.1", b"9.9.9.9")
)
CHROMIUM = shutil.which("chromium")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


@pytest.fixture
def hostile(geocli: Geocli) -> Geocli:
    """Run geocli with databases whose names would be markup."""
    city = {**LONDON, "city": {"names": {"en": HOSTILE}}}
    build(geocli.db_dir / "City.mmdb", {"81.2.69.0/24": city, "2001:218::/32": TOKYO}, edition="city ipv6")
    networks = {**NETWORKS, "2001:218::/32": {"autonomous_system_number": 7, "autonomous_system_organization": HOSTILE}}
    build(geocli.db_dir / "ASN.mmdb", networks, edition="DBIP-ASN-Lite")
    return geocli


class _Elements(HTMLParser):
    """Elements of a page, and their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += f" {data.strip()}"


def _page(geocli: Geocli, tmp_path: Path, log: bytes = LOG, name: str = "access.log") -> _Elements:
    (tmp_path / name).write_bytes(log)
    run = geocli("batch", str(tmp_path / name), "--report", str(tmp_path / "report.html"))
    assert 0 == run.returncode
    assert b"" == run.stderr or b"no address" in run.stderr
    assert len(log.splitlines()) == len(run.stdout.splitlines()) - run.stdout.startswith(b"ip,")
    page = _Elements()
    page.feed((tmp_path / "report.html").read_text(encoding="utf-8"))
    return page


def test_a_page_has_all_sections(hostile: Geocli, tmp_path: Path) -> None:
    """Totals, countries, times, networks, cities, special addresses, and databases with what their licences require."""
    text = " ".join(_page(hostile, tmp_path).text.split())

    assert "access.log" in text
    assert "lines 144 distinct addresses 6 countries 3" in text
    assert "United Kingdom 48 33.3%" in text
    assert "Japan 24 16.7%" in text
    assert "2026-11-26 03:00 6" in text
    assert "Andrews & Arnold Ltd (AS20712) 48 33.3%" in text
    assert "Tokyo, Japan 24 16.7%" in text
    assert "private 24 16.7%" in text
    assert "loopback 24 16.7%" in text
    assert "ip-location-db city (IPv6)" in text
    assert "DB-IP ASN Lite" in text
    assert "IP geolocation by DB-IP (https://db-ip.com), CC BY 4.0" in text
    assert "Natural Earth, public domain" in text


def test_a_page_is_static_and_requests_nothing(hostile: Geocli, tmp_path: Path) -> None:
    """No script, no image and no link to anything; names from databases are text, without control characters."""
    page = _page(hostile, tmp_path)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")

    assert set() == {"script", "img", "iframe", "object", "embed", "base", "form", "image", "use", "a"} & set(page.tags)
    assert [] == [name for name, _ in page.attributes if name.startswith("on")]
    assert {"data:,"} == {value for name, value in page.attributes if name in {"src", "href", "xlink:href", "action"}}
    assert not re.search(r"url\(|@import|\x1b|\u202e", source)
    assert "default-src 'none'" in source
    assert "alert(1)" in page.text
    assert {"style", "table", "svg", "title"} <= set(page.tags)


def test_pictures_are_well_formed(hostile: Geocli, tmp_path: Path) -> None:
    """Each SVG is well-formed XML, and has a table next to it."""
    page = _page(hostile, tmp_path)
    pictures = re.findall(r"<svg.*?</svg>", (tmp_path / "report.html").read_text(encoding="utf-8"), re.DOTALL)

    assert 5 == len(pictures)
    assert 6 == page.tags.count("table")
    assert {"{http://www.w3.org/2000/svg}svg"} == {ET.fromstring(picture).tag for picture in pictures}  # noqa: S314


def test_a_log_without_times_or_places(geocli: Geocli, tmp_path: Path) -> None:
    """Sections without content are left out; nothing at all is a page, too."""
    text = _page(geocli, tmp_path, b"10.0.0.1\nnowhere\n", "list.txt").text

    assert "Time" not in text
    assert "Networks" not in text
    assert "invalid" in text
    assert "lines" in _page(geocli, tmp_path, b"", "empty.log").text


def test_a_page_of_the_cache(hostile: Geocli, tmp_path: Path) -> None:
    """`stats --report` counts the rows of the store."""
    hostile("lookup", "81.2.69.160", "81.2.69.161", "2001:218::1", "10.0.0.1")
    hostile("flush")
    run = hostile("stats", "--report", str(tmp_path / "cache.html"))
    page = _Elements()
    page.feed((tmp_path / "cache.html").read_text(encoding="utf-8"))
    text = " ".join(page.text.split())

    assert (0, b"", b"") == (run.returncode, run.stdout, run.stderr)
    assert "addresses 4 resolved 3 special 1 unresolved 0" in text
    assert "United Kingdom 2 50.0%" in text
    assert "Andrews & Arnold Ltd (AS20712) 2 50.0%" in text
    assert "Tokyo 1 25.0%" in text
    assert "script" not in page.tags


def test_a_page_needs_its_libraries(hostile: Geocli, tmp_path: Path) -> None:
    """Without them nothing is read, and the error has the command that installs them."""
    (tmp_path / "pygal.py").write_text("raise ImportError('No module named pygal')")
    environ = {"PYTHONPATH": str(tmp_path)}
    for command in (("batch",), ("stats",)):
        run = hostile(*command, "--report", str(tmp_path / "x.html"), stdin=b"8.8.8.8\n", environ=environ)

        assert (2, b"") == (run.returncode, run.stdout)
        assert "--report: needs pygal and jinja2" in complaint(run)
        assert "pip install '.[report]' in a clone of geocli" in complaint(run)
    assert not (tmp_path / "x.html").exists()


def test_a_page_is_replaced_when_complete(hostile: Geocli, tmp_path: Path) -> None:
    """A file that cannot be written is an error of one line, and leaves no file."""
    run = hostile("batch", "--report", str(tmp_path / "no" / "x.html"), stdin=b"8.8.8.8\n")

    assert 1 == run.returncode
    assert "No such file or directory" in complaint(run)


def test_a_map_as_a_picture(hostile: Geocli, tmp_path: Path) -> None:
    """`stats --map -o FILE.svg` writes a picture with colours for light and dark; other names get characters."""
    hostile("lookup", "81.2.69.160", "2001:218::1")
    hostile("flush")
    assert 0 == hostile("stats", "--map", "-o", str(tmp_path / "map.svg")).returncode
    assert 0 == hostile("stats", "--map", "-o", str(tmp_path / "map.txt")).returncode
    root = ET.parse(tmp_path / "map.svg").getroot()  # noqa: S314 (made here)
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]

    assert "United Kingdom: 1 (50.0%)" in titles
    assert "France" in titles
    assert "prefers-color-scheme: dark" in (tmp_path / "map.svg").read_text(encoding="utf-8")
    assert "●50%" in (tmp_path / "map.txt").read_text(encoding="utf-8")


def test_classes_of_countries() -> None:
    """The colour grows with the logarithm of the number; small countries are dots, unknown codes are not drawn."""
    counts = {"US": 10_000, "DE": 1_000, "FR": 100, "SG": 10, "MT": 1, "?<": 1}
    svg = country_map(counts, 11_112)

    assert [1, 2, 3, 4, CLASSES] == [number for number, *_ in classes(counts)]
    assert [(10_000, 10_000)] == [(least, most) for number, least, most in classes(counts) if number == CLASSES]
    assert 'class="class-5"><title>United States: 10,000 (90.0%)' in svg
    assert 2 == svg.count("<circle")
    assert "Malta: 1 (&lt;0.1%)" in svg
    assert "?<" not in svg
    assert [] == classes({})


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_browser_shows_it(hostile: Geocli, tmp_path: Path, width: int, colours: str) -> None:
    """Nothing is wider than the window, and the console has no message, as it would of a script or a request."""
    _page(hostile, tmp_path)
    (tmp_path / "frame.html").write_text(
        f'<body style="margin:0"><iframe id="page" src="report.html" style="width:{width}px;height:2000px"></iframe>'
        "<script>page.onload = () => { const page = document.getElementById('page').contentDocument;"
        " document.title = [page.documentElement.scrollWidth <= page.documentElement.clientWidth,"
        " page.defaultView.getComputedStyle(page.body).backgroundColor].join() }</script></body>"
    )
    scheme = f"--blink-settings=preferredColorScheme={int(colours == 'light')}"
    options = (
        *FLAGS,
        scheme,
        "--allow-file-access-from-files",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path}/x",
    )
    shown = subprocess.run(
        [str(CHROMIUM), *options, "--dump-dom", (tmp_path / "frame.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    background = "rgb(246, 247, 248)" if colours == "light" else "rgb(15, 18, 20)"

    assert f"<title>true,{background}</title>" in shown.stdout
    assert "CONSOLE" not in shown.stderr


def test_shapes_are_those_of_natural_earth() -> None:
    """The file names its origin, and every country has a shape or a point within the map."""
    import json

    from geocli.countries import _names

    world = json.loads((Path(sys.modules["geocli"].__path__[0]) / "formats" / "world.json").read_text(encoding="utf-8"))

    assert world["origin"].startswith("Natural Earth 4.1.0, 1:110m")
    assert {"AQ"} == set(_names()) - (world["shapes"].keys() | world["points"].keys())
    assert all(0 <= x <= world["width"] and 0 <= y <= world["height"] for x, y in world["points"].values())
