"""What `flush` does once its options are parsed; imports no option parser, for the fast path of `__main__`."""

from __future__ import annotations

from geocli.cli.session import Problems, open_cache, tell
from geocli.errors import BusyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from geocli.settings import Settings


def flush(chosen: Settings, *, wait_seconds: float = 0, as_json: bool = False, is_verbose: bool = False) -> int:
    """Flush, say what was done if somebody wants to know, and return the exit status."""
    with open_cache(chosen, Problems()) as cache:
        try:
            report = cache.flush_dirty(wait_seconds=wait_seconds)
        except BusyError as error:
            if error.path.endswith("flush.lock") and not wait_seconds:
                return 0  # another flush is at it
            raise
    tell(
        report, f"{report.flushed} entries flushed in {report.duration_seconds:g} s", as_json=as_json, always=is_verbose
    )
    return 0
