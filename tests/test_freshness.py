"""What may be repeated, and when asking again makes sense."""

from __future__ import annotations

from datetime import timedelta

import pytest

from geocli.freshness import RETRY_AFTER, is_hit, is_of, kept_until, next_retry_at
from geocli.models import Entry
from tests.test_models import NOW, RESOLVED, UNRESOLVED


class TestNextRetryAt:
    @pytest.mark.parametrize("earlier", [None, RESOLVED, UNRESOLVED.replace(resolved_at=None)])
    def test_first_in_an_hour(self, earlier: Entry | None) -> None:
        """After the first unresolved result, an hour passes."""
        assert NOW + timedelta(hours=1) == next_retry_at(earlier, NOW)

    def test_ever_later(self) -> None:
        """Then a day passes, then a week, and a week each later time."""
        now, entry, waited = NOW, None, []
        for _ in range(5):
            retry_at = next_retry_at(entry, now)
            waited.append(retry_at - now)
            entry = UNRESOLVED.replace(resolved_at=now, retry_at=retry_at)
            now = retry_at + timedelta(minutes=30)
        hour, day, week = timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)
        assert [hour, day, week, week, week] == waited
        assert (hour, day, week) == RETRY_AFTER


class TestIsOf:
    @pytest.mark.parametrize(
        ("expected", "source", "answered_by", "generation"),
        [
            (True, "custom", "custom@a", "custom@a"),
            (False, "custom", "custom@b", "custom@a"),
            (False, "custom", "custom@a, custom@b", "custom@a"),
            (True, "custom", "custom@a, other@c", "custom@a"),
            (True, "custom+other", "other@c, custom@a", "custom@a, other@c"),
            (False, "custom+other", "custom@a, other@c", "custom@a"),
            (False, "custom", "", "custom@a"),
            (False, "rir", "custom@a, rir@1", "custom@a"),
            (True, "iana", "custom@b", "custom@a"),
        ],
    )
    def test_all_sources_of_an_answer_are_in_the_generation(
        self,
        expected: bool,  # noqa: FBT001 (parametrized)
        source: str,
        answered_by: str,
        generation: str,
    ) -> None:
        """An answer is of a generation if each of its sources is in it, by label; which of two answered is unknown."""
        assert expected is is_of(RESOLVED.replace(source=source, generation=answered_by), generation)
        entry = RESOLVED.replace(source=source, answered_by=answered_by, generation="custom@z")
        assert expected is is_of(entry, generation)


class TestHoldsUntil:
    LATER = NOW + timedelta(days=3)

    @pytest.mark.parametrize(
        ("expected", "source", "answered_by"),
        [
            (True, "web", "atlas@1, web@settings"),
            (True, "atlas+web", "atlas@1, web@settings"),
            (True, "web", "atlas@1, web"),
            (True, "web", ""),
            (False, "atlas", ""),
            (False, "web", "atlas@1, web@others"),
            (False, "atlas", "atlas@1, web@settings"),
        ],
    )
    def test_the_settings_of_the_service_are_the_same(self, expected: bool, source: str, answered_by: str) -> None:  # noqa: FBT001
        """An answer is fresh while its service has the same settings; without recorded settings, always."""
        entry = RESOLVED.replace(source=source, generation=answered_by, retry_at=self.LATER)
        until = self.LATER if expected else None
        assert until == kept_until(entry, ["web@settings"], NOW)
        assert until == kept_until(entry.replace(answered_by=answered_by, generation=""), ["web@settings"], NOW)
        assert kept_until(entry, ["web@settings"], self.LATER) is None


class TestIsHit:
    GENERATION = "GeoLite2-City@1780000000, rir@3.3.170"

    @pytest.mark.parametrize(
        ("expected", "retry_in_seconds", "generation"),
        [
            (True, None, GENERATION),
            (False, None, "rir@3.3.170"),
            (False, None, ""),
            (True, 1, GENERATION),
            (False, 0, GENERATION),
            (False, -1, GENERATION),
            (False, 1, "rir@3.3.170"),
        ],
    )
    @pytest.mark.parametrize("entry", [RESOLVED, UNRESOLVED])
    def test_same_sources_and_before_the_retry_time(
        self,
        entry: Entry,
        expected: bool,  # noqa: FBT001
        retry_in_seconds: int | None,
        generation: str,
    ) -> None:
        """A row is a hit while the sources are the same, and before its retry time."""
        retry_at = None if retry_in_seconds is None else NOW + timedelta(seconds=retry_in_seconds)
        row = entry.replace(generation=generation, retry_at=retry_at)
        assert expected is is_hit(row, None, self.GENERATION, NOW)

    @pytest.mark.parametrize(
        ("expected", "status", "noted", "scope"),
        [
            (True, "special", "private", "private"),
            (False, "special", "private", "shared"),
            (False, "special", "private", None),
            (False, "resolved", None, "private"),
            (False, "unresolved", None, "private"),
        ],
    )
    def test_a_special_row_follows_the_sources(
        self,
        expected: bool,  # noqa: FBT001
        status: str,
        noted: str | None,
        scope: str | None,
    ) -> None:
        """A special row is a hit while the registries and the sources are the same."""
        row = Entry(ip="10.0.0.1", status=status, scope=noted, generation=self.GENERATION)
        assert expected is is_hit(row, scope, self.GENERATION, NOW)
        assert not is_hit(row.replace(generation="other"), scope, self.GENERATION, NOW)
