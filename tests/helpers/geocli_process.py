"""Run geocli as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from geocli.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Geocli:
    """Runs geocli as a process, with a home, a data directory and databases of its own."""

    command = (sys.executable, "-m", "geocli")

    def __init__(self, home: Path) -> None:
        """Create the database directory and the configuration in an existing directory."""
        self.data_dir = home / "data"
        self.db_dir = home / "databases"
        self.db_dir.mkdir()
        config = home / "config.toml"
        config.write_text("system_databases = false\n")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self.environ = {
            **inherited,
            "HOME": str(home),
            "GEOCLI_CONFIG": str(config),
            "GEOCLI_DATA_DIR": str(self.data_dir),
            "GEOCLI_DB_DIR": str(self.db_dir),
            "COLUMNS": "80",
        }

    def __call__(
        self, *arguments: str, stdin: bytes = b"", environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command, and return its exit status and output."""
        return subprocess.run(
            [*self.command, *arguments],
            input=stdin,
            capture_output=True,
            env={**self.environ, **(environ or {})},
            timeout=60,
            check=False,
        )

    def start(self, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
        """Start a command, with pipes for all streams."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen([*self.command, *arguments], env=self.environ, **(pipes | options))  # type: ignore[call-overload, no-any-return]

    def settings(self) -> Settings:
        """Return the settings of such a process."""
        return load(self.environ)
