"""Reads the JSON files of checkpoints, any of which may be absent or of another program."""

import json
from pathlib import Path
from typing import Any


def read_json(file: Path) -> Any:
    """Return a file's content; ``None`` where there is none that is JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_object(file: Path) -> dict[str, Any]:
    """Return a file's object; an empty one where there is none."""
    content = read_json(file)
    return content if isinstance(content, dict) else {}
