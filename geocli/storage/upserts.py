"""Upserts into the table `geo_cache`: blocks of rows, whose distinct places are in a temporary table."""

from __future__ import annotations

from functools import cache
from itertools import chain, islice
from typing import TYPE_CHECKING

from geocli.json_coding import readable_json
from geocli.storage.frames import loaded
from geocli.storage.store_rows import COLUMNS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from geocli.storage.frames import Frame

    PlaceRow = tuple[int, bool, str | None]
    """Number of a place in the table `places`, whether its entries are resolved, and their retry time."""
    Row = tuple[str, int, int | None, str | None, int]
    """Address, number of its place, prefix length, time of resolution, and number of its generation."""

STATEMENT_ROWS = 500
"""Rows of one INSERT. One row each takes twice as long, most of it for the statements."""
MAX_PLACES_BYTES = 32 << 20
"""Size of the places that rows can share; in memory they take three times as much."""

_PLACE = tuple(name for name in COLUMNS if name not in {"ip", "prefix_len", "resolved_at", "generation"})
"""Columns that rows of one place share."""
_ROW = ("ip", "place", "prefix_len", "resolved_at", "generation")
_WRITTEN = (*COLUMNS, "segment", "tried_segment", "answered_by")

# A segment may be stored after later ones, so segment numbers decide what is newer, not times.
_IS_LATEST_TRY = "excluded.tried_segment >= IFNULL(geo_cache.tried_segment, 0)"
_TRY = {
    name: f"CASE WHEN {_IS_LATEST_TRY} THEN excluded.{name} ELSE geo_cache.{name} END"
    for name in ("retry_at", "generation", "tried_segment")
}
_TRY["answered_by"] = f"NULLIF(excluded.generation, {_TRY['generation']})"
_UPDATES = ", ".join(f"{name} = {_TRY.get(name, f'excluded.{name}')}" for name in _WRITTEN[1:])
_REPLACES_ROW = "excluded.segment >= IFNULL(geo_cache.segment, 0) OR geo_cache.status = 'unresolved'"
_REPLACES_UNRESOLVED = f"{_IS_LATEST_TRY} AND geo_cache.status <> 'resolved'"
_UPDATE_TRIED = (
    "UPDATE geo_cache SET retry_at = ?1, generation = ?2, tried_segment = ?4, "
    "answered_by = NULLIF(IFNULL(answered_by, generation), ?2) "
    "WHERE ip = ?3 AND status = 'resolved' AND IFNULL(tried_segment, 0) <= ?4"
)


@cache
def _upsert(rows: int, condition: str) -> str:
    """Return the statement that upserts rows; its parameters are the segment twice, then `_ROW` of each."""
    sources = {name: f"new.column{number}" for number, name in enumerate(_ROW, 1)}
    sources |= {"segment": "?", "tried_segment": "?", "answered_by": "NULL"}
    selected = ", ".join(sources.get(name, f"places.{name}") for name in _WRITTEN)
    marks = ", ".join([f"({', '.join('?' * len(_ROW))})"] * rows)
    return (
        f"INSERT INTO geo_cache ({', '.join(_WRITTEN)}) SELECT {selected} FROM (VALUES {marks}) AS new "
        f"CROSS JOIN temp.places AS places WHERE places.id = new.column2 "
        f"ON CONFLICT(ip) DO UPDATE SET {_UPDATES} WHERE {condition}"
    )


class RowBlock:
    """Rows that are upserted together: the last one of each address, but an unresolved one replaces no answer."""

    def __init__(self) -> None:
        self.resolved: dict[str, Row] = {}
        self.unresolved: dict[str, Row] = {}
        self.retries: dict[str, tuple[str | None, int]] = {}
        """Retry time and generation of the unresolved entries."""

    def __len__(self) -> int:
        """Return the number of addresses."""
        return len(self.resolved) + len(self.unresolved)

    def add(self, frame: Frame, places: Sequence[PlaceRow], generation: int, *, with_unresolved: bool = True) -> None:
        """Add the rows of a frame, which is later than those that were added before."""
        at = frame.at or None
        for ip, number, prefix_len in frame.rows:
            place, is_resolved, retry_at = places[number]
            row = ip, place, prefix_len, at, generation
            if is_resolved:
                self.resolved[ip] = row
                if self.retries:
                    self.unresolved.pop(ip, None)
                    self.retries.pop(ip, None)
            elif with_unresolved:
                self.retries[ip] = retry_at, generation
                if ip not in self.resolved:
                    self.unresolved[ip] = row


class Upserts:
    """Writes blocks of rows within the transactions of one connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._places: dict[bytes, PlaceRow] = {}
        self._places_bytes = 0
        db.execute(f"CREATE TEMP TABLE places (id INTEGER PRIMARY KEY, {', '.join(_PLACE)})")

    @property
    def is_full(self) -> bool:
        """Whether the places take too much memory; then `forget_places` before the next block."""
        return self._places_bytes > MAX_PLACES_BYTES

    def forget_places(self) -> None:
        """Empty the table of places, between blocks, and after a rollback, which empties it too."""
        self._places.clear()
        self._places_bytes = 0
        self._db.execute("DELETE FROM temp.places")

    def number_places(self, texts: list[bytes]) -> list[PlaceRow]:
        """Return the rows of places in the table of places; new ones are inserted."""
        new = [text for text in dict.fromkeys(texts) if text not in self._places]
        values = []
        for text in new:
            members = loaded(text)
            number = len(self._places)
            self._places_bytes += len(text)
            self._places[text] = number, members["status"] != "unresolved", members.get("retry_at")
            traits = members.get("traits")
            columns = {**members, "traits": readable_json(traits) if traits else None}
            values.append((number, *map(columns.get, _PLACE)))
        self._db.executemany(f"INSERT INTO temp.places VALUES (?{', ?' * len(_PLACE)})", values)
        return [self._places[text] for text in texts]

    def number_generation(self, sources: str) -> int:
        """Return the number of a generation; a new one is inserted."""
        self._db.execute("INSERT OR IGNORE INTO generations (sources) VALUES (?)", (sources,))
        ((number,),) = self._db.execute("SELECT MIN(id) FROM generations WHERE sources = ?", (sources,)).fetchall()
        return int(number)

    def write(self, block: RowBlock, segment: int) -> None:
        """Upsert a block of rows of a segment."""
        for rows, condition in ((block.resolved, _REPLACES_ROW), (block.unresolved, _REPLACES_UNRESOLVED)):
            # In the order of their keys SQLite stores rows twice as fast.
            ordered = iter(sorted(rows))
            while ips := list(islice(ordered, STATEMENT_ROWS)):
                values = chain.from_iterable(map(rows.__getitem__, ips))
                self._db.execute(_upsert(len(ips), condition), (segment, segment, *values))
        retries = ((*retry, ip, segment) for ip, retry in block.retries.items())
        self._db.executemany(_UPDATE_TRIED, retries)
