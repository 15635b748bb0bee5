"""The built-in data: countries of registration, from the package iptocc.

These are the delegation files of the five regional internet registries, which the Number Resource Organization
publishes (CC BY 4.0). They cover 98.5 % of the allocated addresses, and agree with commercial databases on 90 to 95 %.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.machinery import PathFinder

from geocli.models import Answer, Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from geocli.addresses import Address
    from geocli.resolvers.protocols import Labels, Report

NAME = "rir"
_PACKAGE = "iptocc"


class RirResolver:
    """Returns the country of registration; needs no file and no network."""

    def sources(self, labels: Labels | None, report: Report) -> list[tuple[str, None]]:
        """Return one label, with the release of iptocc, which is published every night."""
        del labels, report
        return [(f"{NAME}@{release()}", None)]

    def resolve(self, address: Address, report: Report) -> Answer | None:
        """Return the country of registration, None for unallocated addresses."""
        del report
        (code,) = self.codes([str(address)])
        return None if code is None else registered(code)

    @staticmethod
    def codes(addresses: list[str]) -> list[str | None]:
        """Return the country code of each address, None for unallocated ones."""
        from iptocc import country_code

        return country_code(addresses)


def registered(code: str) -> Answer:
    """Return the answer for a country of registration."""
    from geocli.countries import country_name

    return Answer(place=Place(country_code=code, country_name=country_name(code)), source=NAME)


@cache
def release() -> str:
    """Return the installed release, by the name of its metadata, since `importlib.metadata` takes 30 ms."""
    spec = PathFinder.find_spec(_PACKAGE)
    site = os.path.dirname(os.path.dirname(spec.origin)) if spec and spec.origin else os.curdir
    for name in os.listdir(site):
        if name.startswith(f"{_PACKAGE}-") and name.endswith(".dist-info"):
            return name.removeprefix(f"{_PACKAGE}-").removesuffix(".dist-info")
    from importlib.metadata import version

    return version(_PACKAGE)
