"""Loads ``headrace.yaml``: the file, then the environment, then everything checked at once."""

import os
from pathlib import Path

from pydantic import ValidationError

from headrace.settings.environment import apply_environment
from headrace.settings.outline import Path as FieldPath
from headrace.settings.problems import Problem, SettingsError, describe_errors
from headrace.settings.yaml_lines import MAX_FILE_BYTES, read_document
from schemas.settings.file import Settings

CONFIG_VARIABLE = "HEADRACE_CONFIG"
DEFAULT_CONFIG = "headrace.yaml"

__all__ = ["Problem", "SettingsError", "find_settings_file", "load_settings", "parse_settings"]


def find_settings_file(given: Path | None = None) -> Path:
    """Return the settings file: the one given, ``$HEADRACE_CONFIG``, or ``./headrace.yaml``."""
    return given or Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)


def load_settings(path: Path) -> Settings:
    """Read a settings file and the environment's overrides of it.

    Args:
        path: A YAML file.

    Raises:
        SettingsError: The file cannot be read, or the settings are illegal; lists every problem.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        message = (
            f"cannot be read ({error.strerror}); name the settings file with --config FILE "
            f"or {CONFIG_VARIABLE}=FILE"
        )
        raise SettingsError([Problem("", message, str(path))]) from None
    return parse_settings(content, str(path))


def parse_settings(content: bytes, name: str = DEFAULT_CONFIG) -> Settings:
    """Check a settings file's content, with the environment's overrides laid over it.

    Args:
        content: YAML in UTF-8.
        name: The file's name, for messages.

    Raises:
        SettingsError: The settings are illegal; lists every problem.
    """
    document = read_document(content, name)
    where: dict[FieldPath, str] = {
        path: f"{name}:{line}" for path, line in document.lines.items() if path
    }
    merged, overridden, problems = apply_environment(document.data)
    if problems:
        raise SettingsError(problems)
    where |= overridden
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        found = describe_errors(error, Settings, where)
    # Outside the handler: pydantic's own error quotes its input, secrets and all.
    raise SettingsError(found or [Problem("", "cannot be used", name)])
