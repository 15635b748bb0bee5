"""Hatchling's build hook: compiles the kernel with `cc`, or with zig where there is no `cc`.

Without a library the package installs all the same, and blocks take the Python path.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

LIBRARY = "geocli/engine/kernel.shared"
ZIG = "ziglang>=0.13; platform_machine in 'x86_64 AMD64 aarch64 arm64'"
"""400 MB while the package is built; other machines have no such wheel, and must not fail for it."""


class KernelBuildHook(BuildHookInterface[BuilderConfig]):
    """Puts the compiled kernel into the source tree, where an editable install reads it, and into the wheel."""

    def dependencies(self) -> list[str]:
        """Require zig only where there is no compiler."""
        return [] if shutil.which("cc") else [ZIG]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 hatchling's signature
        """Compile the kernel, and mark the wheel as one for this platform if that succeeded."""
        library = os.path.join(self.root, LIBRARY)
        # Processes that use the old library have it mapped: it is replaced, never overwritten.
        if self._compile(f"{library}.new"):
            os.replace(f"{library}.new", library)
            build_data["artifacts"].append(LIBRARY)
            build_data["pure_python"] = False
            # The tags of wheels on an index promise more than a compiler here can keep: hatchling skips them, too.
            platform = next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))
            build_data["tag"] = f"py3-none-{platform}"
            return
        with contextlib.suppress(OSError):
            os.remove(library)
        self.app.display_warning("geocli: the kernel was not compiled: large inputs will take the Python path")

    def _compile(self, target: str) -> bool:
        source = os.path.join(self.root, "geocli/engine/kernel.c")
        # Zig compiles for the processor at hand unless told otherwise, and keeps a cache in the home directory.
        compiler = ["cc"] if shutil.which("cc") else [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"]
        with tempfile.TemporaryDirectory() as cache:
            caches = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
            command = [*compiler, "-O2", "-fPIC", "-shared", "-o", target, source]
            return not subprocess.run(command, env={**os.environ, **caches}, check=False).returncode  # noqa: S603 a compiler and files of ours
