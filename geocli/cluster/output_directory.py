"""The output directory of a batch on a cluster: one file of rows for each part, in order.

Its subdirectory `_geocli` contains the rows of parts that are not complete, a JSON file for each part that is, and
copies of databases. Rows are moved out of it after their answers are in the journal, and recorded after that.
"""

from __future__ import annotations

import json
import re
from contextlib import ExitStack, contextmanager, suppress
from shutil import copyfileobj
from typing import TYPE_CHECKING
from uuid import uuid4

from geocli.batch.missing_addresses import LineCounts
from geocli.cluster.splits import is_local, resolve_url
from geocli.errors import ClusterError, SettingsError
from geocli.files.atomic import make_directory, replacing, sync_directory
from geocli.files.locks import locked_directory
from geocli.immutable import Value
from geocli.settings import COMMAND_LINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geocli.batch.request import BatchRequest
    from geocli.cluster.messages import PartResult, SharedDatabase

WORK = "_geocli"
"""Other programs that read directories of parts ignore names with an underscore in front."""
PART_NAME = re.compile(r"part-[0-9]{6}[.-]")
COPY_BYTES = 1 << 20
"""Bytes read at once when parts are merged."""


class CompletedPart(Value):
    """The record of a part that is complete."""

    key: str
    """Digest from `Job.key`."""
    begin: int
    """Offset of its first record."""
    stop: int | None
    """Offset of the end of its last record."""
    size_bytes: int
    """Size of its rows."""
    counts: dict[str, int]
    """Rows by country, if they are counted."""
    lines: LineCounts
    exit_status: int
    """Exit status of a batch of this part alone."""


class OutputDirectory:
    """The output directory."""

    def __init__(self, request: BatchRequest, output: str, *, is_merged: bool) -> None:
        """Choose the directory: `output`, or `output.parts` if the parts are to be merged into the file `output`.

        Raises SettingsError if the file system of the URL is unknown.
        """
        self._output, self._is_merged = output, is_merged
        self._name = f"{output}.parts" if is_merged else output
        try:
            self._system, self._path = resolve_url(self._name)
        except (ImportError, ValueError) as error:
            raise SettingsError(f"-o {output}", str(error), origin=COMMAND_LINE) from error
        self._extension = _extension(request)
        self._work = f"{self._path}/{WORK}"
        self.work: str = self._system.unstrip_protocol(self._work)
        """URL of the directory for the rows of parts that are not complete."""

    def _rows(self, number: int) -> str:
        return f"{self._path}/part-{number:06}.{self._extension}"

    def _record(self, number: int) -> str:
        return f"{self._work}/part-{number:06}.json"

    @contextmanager
    def opened(self, keys: Sequence[str], *, is_resumed: bool) -> Iterator[dict[int, CompletedPart]]:
        """Create the directory, or resume an earlier run in it; yields the parts that are complete.

        On a local file system the directory is locked, so that no other batch uses it. `keys` are those of all parts;
        if `is_resumed`, the directory may contain parts.

        Raises:
            BusyError: another batch is running in this directory.
            SettingsError: the directory contains something else.
            ClusterError: the directory cannot be created or read.

        """
        with ExitStack() as stack:
            with self._errors():
                if is_local(self._system):
                    make_directory(self._path, 0o777)
                self._system.makedirs(self._path, exist_ok=True)
                if is_local(self._system):
                    stack.enter_context(locked_directory(self._path))
                self._check_content(is_resumed=is_resumed)
                self._system.makedirs(self._work, exist_ok=True)
                completed = self._completed(keys)
                self._remove_all_but(completed)
            yield completed

    def _check_content(self, *, is_resumed: bool) -> None:
        names = self._names(self._path)
        # A work directory without content is left by a run that completed no part.
        if not names or (names == [WORK] and not self._names(self._work)):
            return
        if not is_resumed:
            raise self._refusal("is not empty; --resume continues an earlier run, or choose another name")
        if WORK not in names:
            raise self._refusal("is not empty, and not of an earlier run; choose another name")

    def _completed(self, keys: Sequence[str]) -> dict[int, CompletedPart]:
        records = {number: self._read(number) for number in range(len(keys))}
        return {number: record for number, record in records.items() if record and record.key == keys[number]}

    def _remove_all_but(self, completed: dict[int, CompletedPart]) -> None:
        paths = {path for number in completed for path in (self._rows(number), self._record(number))}
        # Records are removed before their rows.
        for directory in (self._work, self._path):
            for path in {f"{directory}/{name}" for name in self._names(directory) if PART_NAME.match(name)} - paths:
                self._system.rm_file(path)

    def _refusal(self, reason: str) -> SettingsError:
        return SettingsError(f"-o {self._output}", f"{self._name} {reason}", origin=COMMAND_LINE)

    def _names(self, directory: str) -> list[str]:
        self._system.invalidate_cache()
        return [path.rstrip("/").rpartition("/")[2] for path in self._system.ls(directory, detail=False)]

    def _read(self, number: int) -> CompletedPart | None:
        with suppress(OSError, ValueError, TypeError, KeyError):
            values = json.loads(self._system.cat_file(self._record(number)))
            record = CompletedPart(**{**values, "lines": LineCounts(**values["lines"])})
            if self._system.info(self._rows(number))["size"] == record.size_bytes:
                return record
        return None

    def commit(self, number: int, key: str, result: PartResult) -> CompletedPart:
        """Move the rows of a part out of the work directory, and record that it is complete, or raise ClusterError."""
        rows = f"{self._work}/{result.rows}"
        with self._errors():
            completed = CompletedPart(
                key=key,
                begin=result.begin,
                stop=result.stop,
                size_bytes=self._size_bytes(rows),
                counts=result.counts,
                lines=result.lines,
                exit_status=result.exit_status,
            )
            self._system.mv(rows, self._rows(number))
            temporary = self._record(number).replace(".json", f"-{uuid4().hex}")
            values = {**completed.as_dict(), "lines": completed.lines.as_dict()}
            self._system.pipe_file(temporary, json.dumps(values).encode())
            self._system.mv(temporary, self._record(number))
        return completed

    def _size_bytes(self, rows: str) -> int:
        self._system.invalidate_cache()
        try:
            return int(self._system.info(rows)["size"])
        except FileNotFoundError as error:
            reason = "the file that a worker wrote is not here; the directory must be shared by all machines"
            raise OSError(reason) from error

    def discard(self, result: PartResult) -> None:
        """Remove the rows of a part that is run again."""
        with suppress(OSError):
            self._system.rm_file(f"{self._work}/{result.rows}")

    def upload(self, database: SharedDatabase) -> None:
        """Copy a database to where workers can read it, unless there is a copy; raise ClusterError if that fails."""
        _, path = resolve_url(database.copy)
        with self._errors():
            if not self._system.exists(path):
                temporary = f"{path}-{uuid4().hex}"
                self._system.put_file(database.path, temporary)
                self._system.mv(temporary, path)

    def finish(self, count: int) -> None:
        """Merge the parts, if that is wanted, and remove temporary files and copies, or raise ClusterError."""
        with self._errors():
            if self._is_merged:
                self._merge(count)
                self._system.rm(self._path, recursive=True)
                return
            for name in self._names(self._work):
                if not name.endswith(".json"):
                    self._system.rm_file(f"{self._work}/{name}")
            if is_local(self._system):
                sync_directory(self._path)

    def _merge(self, count: int) -> None:
        """Write the merged file, which is replaced when it is complete."""
        _, path = resolve_url(self._output)
        with ExitStack() as stack:
            if is_local(self._system):
                descriptor, _ = stack.enter_context(replacing(path))
                out = stack.enter_context(open(descriptor, "wb", closefd=False))
            else:
                # Other file systems complete a file when it is closed.
                out = stack.enter_context(self._system.open(path, "wb"))
            for number in range(count):
                with self._system.open(self._rows(number), "rb") as rows:
                    copyfileobj(rows, out, COPY_BYTES)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ClusterError(self._name, error.strerror or str(error), exit_status=1) from error


def _extension(request: BatchRequest) -> str:
    """Return the extension of files with such rows."""
    if request.input == "csv" and request.format is None:
        return "tsv" if request.delimiter == "\t" else "csv"
    if request.is_raw:
        return request.input or "csv"
    return {"value": "txt"}.get(request.format or "csv", request.format or "csv")
