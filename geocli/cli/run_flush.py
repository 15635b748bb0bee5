"""`flush`, after its options are parsed."""

from __future__ import annotations

from geocli.cli.session import Problems, open_cache, print_report
from geocli.errors import BusyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from geocli.settings import Settings


def flush(settings: Settings, *, wait_seconds: float = 0, as_json: bool = False, is_verbose: bool = False) -> int:
    """Flush the journal, print a report, and return the exit status."""
    with open_cache(settings, Problems()) as cache:
        try:
            report = cache.flush_dirty(wait_seconds=wait_seconds)
        except BusyError as error:
            if error.path.endswith("flush.lock") and not wait_seconds:
                # Another flush is running.
                return 0
            raise
    sentence = f"{report.flushed} entries flushed in {report.duration_seconds:g} s"
    print_report(report, sentence, as_json=as_json, always=is_verbose)
    return 0
