"""The built-in answer: countries by the registries' data, and their names."""

from __future__ import annotations

import os
import re
import unicodedata
from importlib.metadata import version
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

import iptocc
import pytest
from babel import Locale
from iptocc import country_code

from geocli.cache import GeoCache
from geocli.countries import country_name
from geocli.models import Answer, Place
from geocli.resolvers.registries import RirResolver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geocli.addresses import Address
    from geocli.errors import ResolveError
    from tests.helpers.geocli_process import Geocli

NO_COUNTRIES = {"AC", "CP", "CQ", "DG", "EA", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "ZZ"}
"""Territories of Unicode's CLDR that are only reserved in ISO 3166-1, or not in it."""
NAMED = {code: name for code, name in Locale("en").territories.items() if re.fullmatch("[A-Z]{2}", code)}
"""All territories of CLDR that have a code of two letters, with their English names."""


def report(problem: ResolveError) -> None:
    """Fail: the built-in data need no file, so nothing can be wrong with one."""
    raise AssertionError(problem)


def words(name: str) -> set[str]:
    """Return how the words of a name begin, without accents, and without those that name no place."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return {word[:5] for word in re.findall("[a-z]{3,}", plain)} - {"and", "islan", "repub", "terri"}


class TestCountryName:
    @pytest.mark.parametrize("code", sorted(NAMED.keys() - NO_COUNTRIES))
    def test_every_country_is_named_as_in_cldr(self, code: str) -> None:
        """Every country has a name, whose words are in CLDR's name, too; shorter names are in common use."""
        name = country_name(code)
        assert name is not None
        assert words(name)
        assert set() == words(name) - words(NAMED[code] if code != "CI" else "Ivory Coast")

    @pytest.mark.parametrize(
        ("code", "name"),
        [("CD", "DR Congo"), ("CG", "Congo Republic"), ("KP", "North Korea"), ("KR", "South Korea"), ("XK", "Kosovo")],
    )
    def test_names_that_are_mixed_up_easily(self, code: str, name: str) -> None:
        """Countries whose names differ by little have the right ones."""
        assert name == country_name(code)

    def test_names_are_distinct(self) -> None:
        """No two countries have the same name."""
        codes = NAMED.keys() - NO_COUNTRIES
        assert len(codes) == len({country_name(code) for code in codes})

    @pytest.mark.parametrize("code", [None, "", "ZZ", "AC", "gb", "GBR", "GB "])
    def test_other_strings_have_no_name(self, code: str | None) -> None:
        """Other strings have no name, and are not an error."""
        assert country_name(code) is None


def everywhere() -> Iterator[Address]:
    """Return addresses at even distances: one of each /18 of IPv4, and of each /20 of IPv6's unicast."""
    yield from (IPv4Address(number << 14) for number in range(1 << 18))
    yield from (IPv6Address(number << 108) for number in range(1 << 17, 1 << 18))


class TestRirResolver:
    def test_every_code_in_the_data_has_a_name(self) -> None:
        """Every code that iptocc returns for addresses all over the world is one that has a name."""
        actual = (country_code(str(address)) for address in everywhere())
        codes = {code for code in actual if code is not None}
        assert len(codes) > 150
        assert set() == {code for code in codes if country_name(code) is None}

    @pytest.mark.parametrize(
        ("text", "code", "name"),
        [("8.8.8.8", "US", "United States"), ("193.0.6.139", "NL", "Netherlands"), ("2001:218::1", "JP", "Japan")],
    )
    def test_country_of_registration(self, text: str, code: str, name: str) -> None:
        """An allocated address of either family has the code and the name of its country, and nothing else."""
        expected = Answer(place=Place(country_code=code, country_name=name), source="rir")
        assert expected == RirResolver().resolve(ip_address(text), report)

    @pytest.mark.parametrize("text", ["10.0.0.1", "240.0.0.1", "::1", "3ffe::1"])
    def test_unallocated(self, text: str) -> None:
        """An address that no registry has allocated is unknown, which is not an error."""
        assert RirResolver().resolve(ip_address(text), report) is None

    def test_label_is_the_release(self) -> None:
        """The source is labelled with the release of its data, so that a newer one makes older answers stale."""
        assert [(f"rir@{version('iptocc')}", None)] == RirResolver().sources(None, report)

    def test_label_of_a_package_with_metadata_elsewhere(self, geocli: Geocli, tmp_path: Path) -> None:
        """The release is found also if the metadata are in another directory."""
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "iptocc").symlink_to(os.path.dirname(iptocc.__file__))
        assert geocli("lookup", "8.8.8.8", environ={"PYTHONPATH": str(elsewhere)}).returncode == 0
        with GeoCache(settings=geocli.settings()) as cache:
            (entry,) = cache.journal.dirty()
        assert f"rir@{version('iptocc')}" == entry.generation
