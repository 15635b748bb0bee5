"""Build hook for Hatchling: compiles the kernel with `cc`, or with zig where there is no `cc`.

If this fails, the package is installed without the kernel, and batches take the scalar path.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

LIBRARY = "geocli/engine/kernel.shared"
ZIG = "ziglang>=0.13; platform_machine in 'x86_64 AMD64 aarch64 arm64'"
"""Takes 400 MB during the build. Only these machines have a wheel of it; on others the build must not fail."""


class KernelBuildHook(BuildHookInterface[BuilderConfig]):
    """Writes the compiled kernel to the source tree, for editable installs, and to the wheel."""

    def dependencies(self) -> list[str]:
        """Require zig only where there is no compiler."""
        return [] if shutil.which("cc") else [ZIG]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 hatchling's signature
        """Compile the kernel; if that succeeds, tag the wheel for this platform."""
        library = os.path.join(self.root, LIBRARY)
        # Running processes have the old library mapped, so it is replaced, not overwritten.
        if self._compile(f"{library}.new"):
            os.replace(f"{library}.new", library)
            build_data["artifacts"].append(LIBRARY)
            build_data["pure_python"] = False
            # The tags of portable wheels promise more than a local compiler guarantees; Hatchling avoids them, too.
            platform = next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))
            build_data["tag"] = f"py3-none-{platform}"
            return
        with contextlib.suppress(OSError):
            os.remove(library)
        self.app.display_warning("geocli: the kernel was not compiled: large batches will be slower")

    def _compile(self, target: str) -> bool:
        source = os.path.join(self.root, "geocli/engine/kernel.c")
        # By default zig compiles for this processor only, and writes a cache to the home directory.
        compiler = ["cc"] if shutil.which("cc") else [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"]
        with tempfile.TemporaryDirectory() as cache:
            caches = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
            with open(source, "rb") as file:
                version = f"-DKERNEL_VERSION={zlib.crc32(file.read())}u"
            command = [*compiler, "-O2", "-fPIC", "-shared", version, "-o", target, source]
            return not subprocess.run(command, env={**os.environ, **caches}, check=False).returncode  # noqa: S603 a compiler and files of ours
