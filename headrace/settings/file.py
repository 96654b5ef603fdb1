"""Loads ``headrace.yaml``: the file, then the environment, then checks everything at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headrace.settings.environment import apply_environment
from headrace.settings.messages import describe_errors
from headrace.settings.problems import Path as FieldPath
from headrace.settings.problems import Problem, SettingsError
from headrace.settings.yaml_lines import MAX_FILE_BYTES, read_document
from headrace_client.settings import CONFIG_VARIABLE, DEFAULT_CONFIG, find_settings_file
from schemas.settings.file import Settings

__all__ = [
    "DEFAULT_CONFIG",
    "check_settings",
    "find_settings_file",
    "load_settings",
    "parse_settings",
    "read_file",
]


def load_settings(path: Path) -> Settings:
    """Read a settings file and the environment; ``SettingsError`` lists every problem."""
    return parse_settings(read_file(path), str(path))


def read_file(path: Path) -> bytes:
    """Return the content, only the beginning of too large a file; raises ``SettingsError``."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        message = (
            f"cannot be read ({error.strerror}); name the settings file with --config FILE "
            f"or {CONFIG_VARIABLE}=FILE"
        )
        raise SettingsError([Problem("", message, str(path))]) from None


def parse_settings(content: bytes, name: str = DEFAULT_CONFIG) -> Settings:
    """Check a file's content with the environment; ``SettingsError`` lists every problem."""
    document = read_document(content, name)
    merged, overridden = apply_environment(document.data)
    return check_settings(merged, document.where | overridden)


def check_settings(data: dict[str, Any], where: Mapping[FieldPath, str]) -> Settings:
    """Return plain values as settings; ``where`` is for ``SettingsError``'s list of problems."""
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        problems = describe_errors(error, where)
    # Outside the handler: pydantic's own error quotes its input, secrets included.
    raise SettingsError(problems)
