"""Where the rows of parts go: a directory with a file for each part, in order, and notes of those that are done.

`_geocli` in it has rows that are not yet in place, a note of each part that is done, and copies of databases. Rows are
put in place after their answers are in the journal, and noted after that.
"""

from __future__ import annotations

import json
import re
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from geocli.cluster.splits import is_local, located
from geocli.errors import ClusterError, SettingsError
from geocli.files.atomic import make_directory, replacing, sync_directory, write_all
from geocli.files.locks import locked_directory
from geocli.immutable import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from geocli.bulk.pipeline import BatchRequest
    from geocli.cluster.messages import Done, SentDatabase

WORK = "_geocli"
"""Readers of directories of parts pass over what begins with an underscore."""
OURS = re.compile(r"part-[0-9]{6}[.-]")
COPY_BYTES = 1 << 20
"""Parts are merged in pieces of this size."""


class Note(Value):
    """What is noted of a part that is done."""

    key: str
    """Stands for the part, its input, and all that its rows depend on."""
    begin: int
    """Where its first record begins."""
    stop: int | None
    """Where its last one ends."""
    size_bytes: int
    """Of its rows."""
    counts: dict[str, int]
    """Rows by country, if somebody asked for them."""
    exit_status: int
    """As of a batch."""


class PartDirectory:
    """The directory of the rows."""

    def __init__(self, request: BatchRequest, output: str, *, is_merged: bool) -> None:
        """Choose the directory: `output` itself, or one beside it if parts are to be merged into that file.

        Raises:
            SettingsError: the URL is of no file system that is known.

        """
        self._output, self._is_merged = output, is_merged
        self._shown = f"{output}.parts" if is_merged else output
        try:
            self._system, self._path = located(self._shown)
        except (ImportError, ValueError) as error:
            raise SettingsError(f"-o {output}", str(error), origin="command line") from error
        self._ending = _ending(request)
        self.work: str = self._system.unstrip_protocol(f"{self._path}/{WORK}")
        """URL of what is not yet in place."""

    def _rows(self, number: int) -> str:
        return f"{self._path}/part-{number:06}.{self._ending}"

    def _note(self, number: int) -> str:
        return f"{self._path}/{WORK}/part-{number:06}.json"

    @contextmanager
    def begun(self, keys: Sequence[str], *, is_resumed: bool) -> Iterator[dict[int, Note]]:
        """Make the directory, or put in order what an earlier run left in it, and return what of that is done.

        In a file system of this machine, no other batch can begin in it meanwhile.

        Args:
            keys: those of all parts.
            is_resumed: whether there may be something.

        Raises:
            BusyError: another batch is at it.
            SettingsError: there is something that was not expected.
            ClusterError: the directory cannot be made or read.

        """
        with ExitStack() as stack:
            with self._errors():
                if is_local(self._system):
                    make_directory(self._path, 0o777)
                self._system.makedirs(self._path, exist_ok=True)
                if is_local(self._system):
                    stack.enter_context(locked_directory(self._path))
            yield self._ordered(keys, is_resumed=is_resumed)

    def _ordered(self, keys: Sequence[str], *, is_resumed: bool) -> dict[int, Note]:
        work = f"{self._path}/{WORK}"
        with self._errors():
            there = self._names(self._path)
            if there and (there != [WORK] or self._names(work)):  # else no part was answered in it
                if not is_resumed:
                    raise self._refused("is not empty; --resume goes on with an earlier run, or choose another name")
                if WORK not in there:
                    raise self._refused("is not empty, and not of an earlier run; choose another name")
            self._system.makedirs(work, exist_ok=True)
            found = {number: self._read(number) for number in range(len(keys))}
            done = {number: note for number, note in found.items() if note and note.key == keys[number]}
            kept = {path for number in done for path in (self._rows(number), self._note(number))}
            for directory in (work, self._path):  # notes first
                for path in {f"{directory}/{name}" for name in self._names(directory) if OURS.match(name)} - kept:
                    self._system.rm_file(path)
        return done

    def _refused(self, reason: str) -> SettingsError:
        return SettingsError(f"-o {self._output}", f"{self._shown} {reason}", origin="command line")

    def _names(self, directory: str) -> list[str]:
        self._system.invalidate_cache()
        return [path.rstrip("/").rpartition("/")[2] for path in self._system.ls(directory, detail=False)]

    def _read(self, number: int) -> Note | None:
        with suppress(OSError, ValueError, TypeError):
            note = Note(**json.loads(self._system.cat_file(self._note(number))))
            if self._system.info(self._rows(number))["size"] == note.size_bytes:
                return note
        return None

    def place(self, number: int, key: str, done: Done) -> Note:
        """Put the rows of a part in their place, and note that it is done.

        Raises:
            ClusterError: that was not possible.

        """
        rows = f"{self._path}/{WORK}/{done.rows}"
        with self._errors():
            note = Note(
                key=key,
                begin=done.begin,
                stop=done.stop,
                size_bytes=self._size_bytes(rows),
                counts=done.counts,
                exit_status=done.exit_status,
            )
            self._system.mv(rows, self._rows(number))
            beside = self._note(number).replace(".json", f"-{uuid4().hex}")
            self._system.pipe_file(beside, json.dumps(note.as_dict()).encode())
            self._system.mv(beside, self._note(number))
        return note

    def _size_bytes(self, rows: str) -> int:
        self._system.invalidate_cache()
        try:
            return int(self._system.info(rows)["size"])
        except FileNotFoundError as error:
            reason = "what a worker wrote there cannot be seen here; it must be a directory that all share"
            raise OSError(reason) from error

    def drop(self, done: Done) -> None:
        """Remove rows that will not be put in place."""
        with suppress(OSError):
            self._system.rm_file(f"{self._path}/{WORK}/{done.rows}")

    def provide(self, database: SentDatabase) -> None:
        """Copy a database to where all workers find it, if it is not there yet.

        Raises:
            ClusterError: that was not possible.

        """
        _, path = located(database.copy)
        with self._errors():
            if not self._system.exists(path):
                beside = f"{path}-{uuid4().hex}"
                self._system.put_file(database.path, beside)
                self._system.mv(beside, path)

    def finish(self, count: int) -> None:
        """Merge the parts if that was asked for, and remove what nobody needs any more.

        Raises:
            ClusterError: that was not possible.

        """
        work = f"{self._path}/{WORK}"
        with self._errors():
            if self._is_merged:
                with self._merged() as put:
                    for number in range(count):
                        self._copy(self._rows(number), put)
                self._system.rm(self._path, recursive=True)
            else:
                for name in self._names(work):
                    if not name.endswith(".json"):
                        self._system.rm_file(f"{work}/{name}")
                if is_local(self._system):
                    sync_directory(self._path)

    def _copy(self, path: str, put: Callable[[bytes], object]) -> None:
        with self._system.open(path, "rb") as stream:
            while data := stream.read(COPY_BYTES):
                put(data)

    @contextmanager
    def _merged(self) -> Iterator[Callable[[bytes], object]]:
        """Return what the rows of all parts are given to; the file is complete or as it was."""
        _, path = located(self._output)
        if is_local(self._system):
            with replacing(path) as (descriptor, _):
                yield lambda data: write_all(descriptor, data)
        else:  # there a file is complete when it is closed
            with self._system.open(path, "wb") as stream:
                yield stream.write

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ClusterError(self._shown, error.strerror or str(error), exit_status=1) from error


def _ending(request: BatchRequest) -> str:
    """Return what the names of files with such rows end in."""
    if request.input == "csv":
        return "tsv" if request.delimiter == "\t" else "csv"
    if request.is_raw:
        return request.input
    return {"value": "txt"}.get(request.format, request.format)
