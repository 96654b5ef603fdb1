"""Reads the sections of a settings file: each wrong value is an error that names its key."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from headrace_client.errors import SettingsError

_TRUE = frozenset({"true", "yes", "on", "1", "y", "t"})
_FALSE = frozenset({"false", "no", "off", "0", "n", "f"})


class SectionReader:
    """One mapping of a settings file, at ``path``; the getters raise ``SettingsError``."""

    def __init__(self, data: object, path: str) -> None:
        if not isinstance(data, Mapping):
            raise SettingsError(f"{path}: must be a mapping of keys to values, not {_shown(data)}")
        self._data: Mapping[str, Any] = data
        self.path = path

    def data(self) -> dict[str, Any]:
        return dict(self._data)

    def __contains__(self, key: str) -> bool:
        return self._data.get(key) is not None

    def names(self) -> tuple[str, ...]:
        return tuple(map(str, self._data))

    def check_keys(self, known: Collection[str]) -> None:
        for key in self._data:
            if key not in known:
                close = get_close_matches(str(key), known, 1)
                hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"
                raise SettingsError(f"{self.path}.{key}: there is no such key; {hint}")

    def section(self, key: str) -> "SectionReader | None":
        value = self._data.get(key)
        return None if value is None else SectionReader(value, f"{self.path}.{key}")

    def text(self, key: str, default: str | None = None) -> str:
        found = self.optional_text(key)
        if found is not None:
            return found
        if default is None:
            raise SettingsError(f"{self.path}.{key}: is missing; set it")
        return default

    def optional_text(self, key: str) -> str | None:
        value = self._data.get(key)
        if value is None or isinstance(value, str):
            return value
        raise SettingsError(f"{self.path}.{key}: must be text; write it in quotes")

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._data.get(key)
        if value is None:
            return ()
        if isinstance(value, str):
            return (value,)
        if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
            return tuple(value)
        raise SettingsError(f"{self.path}.{key}: must be a list of texts, not {_shown(value)}")

    def keys_of(self, key: str) -> tuple[str, ...]:
        value = self._data.get(key)
        return tuple(map(str, value)) if isinstance(value, Mapping) else ()

    def texts_by_name(self, key: str) -> dict[str, str]:
        section = self.section(key)
        return {} if section is None else {name: section.text(name) for name in section.names()}

    def mapping(self, key: str) -> dict[str, Any]:
        section = self.section(key)
        return {} if section is None else section.data()

    def number(self, key: str, default: float, *, least: float) -> float:
        value = self._data.get(key, default)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                value = None
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
            raise SettingsError(f"{self.path}.{key}: must be a number from {least:g} on")
        return value

    def choice(self, key: str, default: str, known: Collection[str]) -> str:
        value = self.text(key, default)
        if value not in known:
            raise SettingsError(f"{self.path}.{key}: must be one of {', '.join(known)}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._data.get(key)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        word = str(value).lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise SettingsError(f"{self.path}.{key}: must be true or false, not {_shown(value)}")


def _shown(value: object) -> str:
    # Its kind only: the value may be a secret.
    return {"NoneType": "nothing", "str": "text", "int": "a number", "list": "a list"}.get(
        type(value).__name__, type(value).__name__
    )
