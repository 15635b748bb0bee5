"""Arguments of GeoCache from Python: valid ones, and those that raise an error before anything is done."""

from __future__ import annotations

import inspect
import json
import os
from datetime import timedelta
from decimal import Decimal
from ipaddress import ip_address
from math import nan
from typing import TYPE_CHECKING, Any

import pytest

from geocli import AddressError, GeoCache, SettingsError
from geocli.models import FIELDS, FIELDS_ON_REQUEST
from tests.helpers.databases import LONDON, build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

GB = "81.2.69.160"
NO_ADDRESSES: list[Any] = [None, b"8.8.8.8", bytearray(b"8.8.8.8"), 134744072, 8.8, nan, True, [GB], Decimal(8), object]


@pytest.fixture
def cache(located: Geocli) -> Iterator[GeoCache]:
    with GeoCache(settings=located.settings()) as opened:
        yield opened


@pytest.mark.parametrize("value", NO_ADDRESSES, ids=repr)
def test_lookup_of_another_type_is_an_error(cache: GeoCache, value: Any) -> None:
    """The error names the type, and nothing is stored."""
    with pytest.raises(
        TypeError, match=rf"^an address is a str or an address of ipaddress, not {type(value).__name__}$"
    ):
        cache.lookup(value)
    assert not os.path.exists(cache.directory.path)


@pytest.mark.parametrize("text", ["", "None", "nan", "8.8.8", "134744072"])
def test_lookup_of_an_invalid_address_is_an_error(cache: GeoCache, text: str) -> None:
    """The error is an AddressError, which is also a ValueError."""
    with pytest.raises(AddressError):
        cache.lookup(text)


def test_a_batch_has_an_entry_for_all_that_is_in_it(cache: GeoCache) -> None:
    """What is not an address is invalid, with the reason, and does not end the batch; addresses may be objects."""
    values: list[Any] = [GB, None, nan, 7, b"x", ip_address(GB), ip_address(f"::ffff:{GB}"), "nonsense"]
    actual = list(cache.lookup_batch(values))
    statuses = ["resolved", *["invalid"] * 4, *["resolved"] * 2, "invalid"]
    assert statuses == [entry.status for entry in actual]
    assert [GB, "None", "nan", "7", "b'x'", GB, GB, "nonsense"] == [entry.ip for entry in actual]
    assert "an address is a str or an address of ipaddress, not float" == actual[2].error


@pytest.mark.parametrize("values", [GB, GB.encode(), bytearray(b"8.8.8.8"), None, 7])
@pytest.mark.parametrize("method", ["lookup_batch", "lookup_cached_only"])
def test_one_string_is_not_a_batch(cache: GeoCache, method: str, values: Any) -> None:
    """The error is raised by the call, not with the first entry."""
    with pytest.raises(TypeError):
        getattr(cache, method)(values)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda cache: cache.lookup_batch([GB], mode="cached"),
            "mode: 'cached' is not one of cache, cached-only, refresh, no-cache, due, again",
        ),
        (lambda cache: cache.lookup_batch([GB], mode=None), "mode: None is not one of cache, "),
        (lambda cache: cache.re_resolve("stale"), "which: 'stale' is not one of due, unresolved, all, or a timedelta"),
        (lambda cache: cache.re_resolve(30), "which: 30 is not one of due, "),
        (lambda cache: cache.re_resolve("all", limit=-1), "limit: -1 is negative"),
        (lambda cache: cache.re_resolve(timedelta(-1)), "which: .* is negative"),
        (lambda cache: cache.clear(older_than=timedelta(-1)), "older_than: .* is negative"),
        (lambda cache: cache.stats(by="cities"), "by: 'cities' is not one of country, asn, city, source"),
        (lambda cache: cache.stats(top=-1), "top: -1 is negative"),
    ],
)
def test_an_unknown_choice_is_refused_with_the_choices(
    cache: GeoCache, call: Callable[[GeoCache], object], message: str
) -> None:
    """Before anything is read or made."""
    with pytest.raises(ValueError, match="^" + message):
        call(cache)
    assert not os.path.exists(cache.directory.path)


@pytest.mark.parametrize("name", [name for name in vars(GeoCache) if not name.startswith("_")])
def test_every_argument_has_a_name(name: str) -> None:
    """No method takes just any keyword."""
    member = getattr(GeoCache, name)
    if callable(member):
        kinds = {parameter.kind for parameter in inspect.signature(member).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds
        with pytest.raises(TypeError):
            member(None, no_such_argument=1)


def test_named_databases(geocli: Geocli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that are named, as text or as paths, answer, and nothing else does."""
    for name, value in geocli.environ.items():
        monkeypatch.setenv(name, value)
    path = build(tmp_path / "own.mmdb", {"81.2.69.0/24": LONDON}, edition="own")
    for databases in ([path], [str(path)], (path,)):
        with GeoCache(tmp_path / "data", databases=databases) as cache:
            assert ("London", "own") == ((entry := cache.lookup(GB)).place.city, entry.source)
            assert "unresolved" == cache.lookup("8.8.8.8").status


def test_language(located: Geocli) -> None:
    """Names are in the language of the cache."""
    with GeoCache(settings=located.settings(), language="de") as cache:
        assert "Vereinigtes Königreich" == cache.lookup(GB).place.country_name
    with GeoCache(settings=located.settings()) as cache:
        assert "United Kingdom" == cache.lookup(GB).place.country_name


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"databases": "/a.mmdb"}, TypeError),
        ({"databases": b"/a.mmdb"}, TypeError),
        ({"databases": []}, ValueError),
        ({"databases": [None]}, TypeError),
        ({"language": "German"}, SettingsError),
        ({"no_such_argument": 1}, TypeError),
    ],
)
def test_a_cache_rejects_invalid_arguments(located: Geocli, options: dict[str, Any], error: type[Exception]) -> None:
    """When it is created, not when it is first used."""
    with pytest.raises(error):
        GeoCache(settings=located.settings(), **options)


def test_an_entry_as_a_dict_is_flat(cache: GeoCache) -> None:
    """Each field of `-F` is a key, in its JSON form."""
    actual = cache.lookup(GB).as_dict()
    assert [*FIELDS, *FIELDS_ON_REQUEST, "traits"] == list(actual)
    assert ("London", 51.5142, "81.2.69.128/25", False) == tuple(
        actual[name] for name in ("city", "latitude", "network", "cached")
    )
    assert actual == json.loads(json.dumps(actual))
    assert {"invalid"} == {entry.as_dict()["status"] for entry in cache.lookup_batch(["nonsense"])}


def test_ages_are_taken(cache: GeoCache) -> None:
    """`re_resolve` takes an age."""
    cache.lookup(GB)
    cache.flush_dirty()
    assert 1 == cache.re_resolve(timedelta()).retried
