"""Names in the user's language, in all commands, and how they are cached."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from geocli.batch.scheduler import SMALL_BYTES
from tests.helpers.command_output import complaint, objects
from tests.helpers.data_directories import dirty
from tests.helpers.databases import build
from tests.helpers.web_services import Web

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

GB = "81.2.69.160"
RECORD: dict[str, Any] = {
    "country": {"iso_code": "GB", "names": {"en": "United Kingdom", "de": "Vereinigtes Königreich"}},
    "city": {"names": {"en": "London", "de": "London", "fr": "Londres", "pt-BR": "Londres (BR)"}},
    "subdivisions": [{"iso_code": "ENG", "names": {"zh-CN": "英格兰"}}],
}
ENGLISH, GERMAN, FRENCH = (
    ("United Kingdom", "London", "英格兰"),
    ("Vereinigtes Königreich", "London", "英格兰"),
    ("United Kingdom", "Londres", "英格兰"),
)
FIELDS = ("country_name", "city", "region")


@pytest.fixture
def multilingual(geocli: Geocli) -> Geocli:
    """Run geocli with a database that has names in several languages."""
    build(geocli.db_dir / "GeoLite2-City.mmdb", {"81.2.69.0/24": RECORD})
    return geocli


def names(geocli: Geocli, *options: str, language: str = "") -> tuple[Any, ...]:
    """Look the address up, and return its names, and whether the answer was cached."""
    run = geocli("lookup", *options, GB, environ={"GEOCLI_LANGUAGE": language})
    assert (0, b"") == (run.returncode, run.stderr)
    (entry,) = objects(run.stdout)
    return tuple(entry[name] for name in FIELDS), entry["cached"]


@pytest.mark.parametrize(
    ("language", "expected"),
    [("", ENGLISH), ("en", ENGLISH), ("de", GERMAN), ("DE_at", GERMAN), ("fr", FRENCH), ("it", ENGLISH)],
)
def test_option_and_variable(multilingual: Geocli, language: str, expected: tuple[str, ...]) -> None:
    """Both choose the language; a name in any language is better than none."""
    assert (expected, False) == names(multilingual, "--no-cache", language=language)
    if language:
        assert (expected, False) == names(multilingual, "--lang", language)


def test_configuration(multilingual: Geocli, tmp_path: Path) -> None:
    """So does the configuration, whose language an option overrides."""
    (tmp_path / "config.toml").write_text('system_databases = false\nlanguage = "de"\n')
    assert (GERMAN, False) == names(multilingual)
    assert (FRENCH, False) == names(multilingual, "--lang", "fr")
    assert (ENGLISH, False) == names(multilingual, "--lang", "en")


@pytest.mark.parametrize("flushed", [True, False])
def test_cache_is_for_one_language(multilingual: Geocli, flushed: bool) -> None:  # noqa: FBT001 (parametrized)
    """A change of the setting makes cached answers stale, whether they are in the journal or in the store."""
    for language, expected in (("", ENGLISH), ("de", GERMAN), ("", ENGLISH)):
        assert (expected, False) == names(multilingual, language=language)
        if flushed:
            multilingual("flush")
            assert (expected, True) == names(multilingual, language=language)
            assert (expected, True) == names(
                multilingual, language=f"{language or 'en'}-AT".removesuffix("-AT").upper()
            )


def files_of(geocli: Geocli) -> dict[str, bytes]:
    """Return the files of the data directory, except those that SQLite creates for reading."""
    return {path.name: path.read_bytes() for path in geocli.data_dir.iterdir() if "db-" not in path.name}


def test_option_neither_reads_nor_writes_the_cache(multilingual: Geocli) -> None:
    """With the configured language `--lang` has no effect; with another one the cache is not used."""
    names(multilingual, language="de")
    multilingual("flush")
    before = files_of(multilingual)
    assert (FRENCH, False) == names(multilingual, "--lang", "fr", language="de")
    assert (FRENCH, False) == names(multilingual, "--refresh", "--lang", "fr", language="de")
    assert b"fr" not in multilingual("batch", "--lang", "fr", stdin=f"{GB}\n".encode()).stderr
    assert before == files_of(multilingual)
    assert (GERMAN, True) == names(multilingual, "--lang", "de", language="de")
    assert [] == dirty(multilingual)


def test_no_file_is_made(multilingual: Geocli) -> None:
    """Where nothing is cached yet, an answer in another language leaves no trace."""
    assert (GERMAN, False) == names(multilingual, "--lang", "de")
    assert not multilingual.data_dir.exists()


@pytest.mark.parametrize("command", ["lookup", "batch"])
def test_cached_only_contradicts_another_language(multilingual: Geocli, command: str) -> None:
    """The cache has names in one language, so others cannot be answered from it."""
    arguments = (GB,) if command == "lookup" else ()
    run = multilingual(command, "--cached-only", "--lang", "de", *arguments, stdin=b"")
    expected = "--lang and --cached-only: contradict each other: the names in the cache are for the language en"
    assert (2, f"command line: {expected}") == (run.returncode, complaint(run))
    assert 0 == multilingual(command, "--cached-only", "--lang", "en", *(("10.0.0.1",) if arguments else ())).returncode


@pytest.mark.parametrize("text", ["german", "", "d", "de DE", "\x1b[2J"])
def test_not_a_language(multilingual: Geocli, text: str) -> None:
    """A text that is not a language is refused, and shown harmlessly."""
    run = multilingual("lookup", "--lang", text, GB)
    assert (2, b"") == (run.returncode, run.stdout)
    assert complaint(run) == f"command line: --lang: {text!r} is not a language like de or pt-BR"


@pytest.mark.parametrize("count", [1, 2 * SMALL_BYTES // len(GB)])
@pytest.mark.parametrize("options", [("--lang", "de"), ("--no-cache", "--lang", "de"), ()])
def test_batch(multilingual: Geocli, count: int, options: tuple[str, ...]) -> None:
    """A batch, be it short or long, gives the names that a lookup gives."""
    texts = "".join(f"81.2.69.{number % 256}\n" for number in range(count))
    environ = {} if options else {"GEOCLI_LANGUAGE": "de"}
    run = multilingual("batch", "-f", "jsonl", "-F", ",".join(FIELDS), *options, stdin=texts.encode(), environ=environ)
    assert (0, b"") == (run.returncode, run.stderr)
    assert {GERMAN} == {tuple(json.loads(line).values()) for line in run.stdout.splitlines()}


@pytest.mark.slow
def test_cluster(multilingual: Geocli, tmp_path: Path) -> None:
    """Workers of a cluster use the language, too."""
    source, out = tmp_path / "list", tmp_path / "out"
    source.write_text(f"{GB}\n")
    where = ("--cluster", "local:1", "--merge", "-o", str(out))
    for options, environ in (((), {"GEOCLI_LANGUAGE": "de"}), (("--lang", "de"), {})):
        run = multilingual("batch", "-F", "country_name", *options, *where, str(source), environ=environ)
        assert (0, b"") == (run.returncode, run.stderr)
        assert "country_name\nVereinigtes Königreich\n" == out.read_text()


@pytest.fixture(params=["ip-api", "maxmind"])
def web(request: pytest.FixtureRequest, tmp_path: Path, geocli: Geocli) -> Iterator[Web]:
    home = tmp_path / "web"
    home.mkdir()
    with Web(request.param, home) as server:
        server.begin()
        geocli.environ |= {**server.environ, "GEOCLI_BUILT_IN_DATA": "false"}
        yield server


def test_services(geocli: Geocli, web: Web) -> None:
    """A service is asked for names in the language, or the name is selected from its response."""
    if web.is_maxmind:
        web.behave = lambda _: web.json({**RECORD, "traits": {"ip_address": GB, "network": f"{GB}/32"}})
    else:
        web.behave = lambda request: web.json(
            [{"status": "success", "query": GB, "country": f"asked in {request.args.get('lang')}", "countryCode": "GB"}]
        )
    expected = "Vereinigtes Königreich" if web.is_maxmind else "asked in de"
    (entry,) = objects(geocli("lookup", GB, environ={"GEOCLI_LANGUAGE": "de-AT"}).stdout)
    assert (expected, web.name) == (entry["country_name"], entry["source"])
