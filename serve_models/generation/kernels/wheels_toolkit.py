"""Completes a CUDA toolkit that wheels have installed: `python -m` this module, once.

The wheels have nvcc and its headers, but are made to run with, not to link with: libraries lie in
``lib`` instead of ``lib64`` and have only names with versions, and the driver's is not there at all
while an image is built.
"""

import logging
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from serve_models.generation.kernels.toolchain import Toolchain, is_complete, wheels_cuda_home

DRIVER = "libcuda.so"
_DRIVER_NAME = "libcuda.so.1"
_DRIVER_FUNCTION = re.compile(r"\b(cu[A-Z]\w+)\b(?=\s*\(|\s*$)", re.MULTILINE)
_VERSIONED = re.compile(r"(lib[\w-]+\.so)\.\d+")

log = logging.getLogger(__name__)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    home = wheels_cuda_home(Path(sysconfig.get_path("purelib")))
    if home is None:
        log.info(
            "no wheels have brought nvcc: kernels are compiled with a toolkit of the machine",
            extra={"event": "kernels_toolkit"},
        )
        return 0
    made = complete(home)
    log.info(
        "%s: %s",
        home,
        f"made {', '.join(made)}" if made else "is complete",
        extra={"event": "kernels_toolkit"},
    )
    return 0


def completed(found: Toolchain) -> Toolchain:
    """Return a toolchain with the libraries that could be made; one that is complete as it is."""
    if found.cuda_home is None or found.has_libraries:
        return found
    try:
        complete(found.cuda_home)
    except OSError as error:
        log.info("%s: %s", found.cuda_home, error, extra={"event": "kernels_toolkit"})
    return replace(found, has_libraries=is_complete(found.cuda_home))


def complete(home: Path, link_stub: Callable[[Path], bool] | None = None) -> list[str]:
    """Make what is missing for a linker; returns what was made. Raises ``OSError``.

    ``link_stub`` makes a driver's library without content, and returns whether it could.
    """
    made = []
    libraries = home / "lib"
    if not (home / "lib64").exists():
        (home / "lib64").symlink_to("lib")
        made.append("lib64")
    for library in sorted(libraries.glob("lib*.so.*")):
        match = _VERSIONED.fullmatch(library.name)
        if match and not (libraries / match[1]).exists():
            (libraries / match[1]).symlink_to(library.name)
            made.append(match[1])
    stub = libraries / "stubs" / DRIVER
    if not stub.exists() and (link_stub or _link_stub)(stub):
        made.append(f"stubs/{DRIVER}")
    return made


def driver_source(header: str) -> str:
    """Return C of a library that has all functions of ``cuda.h``, and does nothing in them.

    A linker takes note of a library only for a function that it finds in it.
    """
    names = sorted(set(_DRIVER_FUNCTION.findall(header)))
    return "".join(f"void {name}(void) {{}}\n" for name in names)


def _link_stub(target: Path) -> bool:
    """Link a stand-in for the driver's library that says the name of the real one."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    header = target.parents[2] / "include" / "cuda.h"
    if compiler is None or not header.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        source, linked = Path(folder) / "driver.c", Path(folder) / DRIVER
        source.write_text(driver_source(header.read_text(encoding="utf-8", errors="replace")))
        command = [compiler, "-shared", "-fPIC", str(source), f"-Wl,-soname,{_DRIVER_NAME}"]
        outcome = subprocess.run([*command, "-o", str(linked)], check=False)  # noqa: S603 - ours
        if outcome.returncode != 0:
            return False
        linked.replace(target)
    return True


if __name__ == "__main__":
    sys.exit(main())
