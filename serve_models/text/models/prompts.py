"""A model's prompts: by their own names, and by the role of a text. Pure."""

from collections.abc import Mapping, Sequence
from typing import Literal

Role = Literal["query", "document"]
"""The role of a text in a search."""

_NAMES: Mapping[Role, tuple[str, ...]] = {
    "query": ("query", "search_query"),
    "document": ("document", "passage", "corpus", "search_document"),
}
"""As ``encode_query`` and ``encode_document`` of the library look for them, then Cohere's."""
_ROLES: Mapping[str, Role] = {name: role for role, names in _NAMES.items() for name in names}

PURPOSES = frozenset({*_ROLES, "classification", "clustering"})
"""Legal values of ``input_type`` for any model, with or without a prompt for them."""


def role_of(name: str | None) -> Role | None:
    return None if name is None else _ROLES.get(name)


class Prompts:
    """The settings' prompts over the checkpoint's.

    Args:
        checkpoint: The checkpoint's by name. Sentence Transformers puts an empty one for queries
            and one for documents into every model.
        settings: The settings' by name.
        default_name: The prompt of a request that names none.
    """

    def __init__(
        self,
        checkpoint: Mapping[str, str],
        settings: Mapping[str, str],
        default_name: str | None = None,
    ) -> None:
        self.default_name = default_name
        self._settings = dict(settings)
        self._all = {**checkpoint, **settings}
        self._default = "" if default_name is None else self._all[default_name]

    @property
    def names(self) -> list[str]:
        return sorted(self._all)

    def find(self, name: str | None) -> str | None:
        """Return the prompt of a request, or ``None``.

        If no prompt has this very name, another name of the same role stands for it.
        """
        if name is None:
            return self._default
        if name in self._settings or self._all.get(name):
            return self._all[name]
        role = role_of(name)
        return self._all.get(name) if role is None else self.of_role(role)

    def find_or_default(self, name: str | None) -> str:
        prompt = self.find(name)
        return self._default if prompt is None else prompt

    def for_names(self, names: Sequence[str | None]) -> list[str]:
        """Return the prompt of each text by the name that its request has, or the default."""
        found = {name: self.find_or_default(name) for name in set(names)}
        return [found[name] for name in names]

    def for_roles(self, roles: Sequence[Role]) -> list[str]:
        found = {role: self.of_role(role) for role in set(roles)}
        return [found[role] for role in roles]

    def of_role(self, role: Role) -> str:
        """Return the prompt for queries or for documents.

        The settings' prompts come first, preferably one that is not empty. Of the checkpoint's it
        is the one that the library would take, or else the default.
        """
        own = [self._settings[name] for name in _NAMES[role] if name in self._settings]
        if own:
            return next(filter(None, own), "")
        return next((self._all[name] for name in _NAMES[role] if name in self._all), self._default)
