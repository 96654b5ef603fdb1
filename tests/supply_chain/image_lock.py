"""Prints what an image installs: a lock without what the Dockerfile leaves out."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTRA = {"cpu": "torch-cpu.txt"}
"""What the Dockerfile installs beside a lock."""


def image_requirements(variant: str) -> list[str]:
    """Return ``NAME==VERSION`` of the packages of an image, ``cpu`` or ``gpu``."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    left_out = re.search(r'^ARG NOT_IN_IMAGE="([^"]+)"', dockerfile, re.MULTILINE)
    if left_out is None:
        raise ValueError("the Dockerfile names no NOT_IN_IMAGE")
    names = set(left_out[1].split())
    files = [f"{variant}.lock", *([EXTRA[variant]] if variant in EXTRA else [])]
    texts = [(ROOT / "requirements" / name).read_text() for name in files]
    lines = [line for text in texts for line in text.splitlines()]
    found = (line.strip() for line in lines if re.match(r"[A-Za-z0-9]", line))
    return sorted(each for each in found if each.partition("==")[0] not in names)


if __name__ == "__main__":
    sys.stdout.write("".join(f"{each}\n" for each in image_requirements(sys.argv[1])))
