"""Secrets that a process reads while it runs: from files, from providers of tokens.

They change, so a log cannot be given them when it begins.
"""

from collections.abc import Iterable

from headrace_client.logs.redacting import LEAST_SECRET_CHARACTERS, spellings_of

_MOST_SECRETS = 64


class LearnedSecrets:
    """The last secrets that were learned, in all their spellings, the longest first."""

    def __init__(self, most: int = _MOST_SECRETS) -> None:
        self._most = most
        self._secrets: dict[str, None] = {}
        self.spellings: tuple[str, ...] = ()

    def learn(self, secrets: Iterable[str]) -> None:
        """Add secrets. One that is known becomes the last, which is forgotten last."""
        # Replaced as a whole: other threads log meanwhile.
        known = dict(self._secrets)
        for each in secrets:
            if len(each) >= LEAST_SECRET_CHARACTERS:
                known.pop(each, None)
                known[each] = None
        if known.keys() == self._secrets.keys():
            self._secrets = known
            return
        for each in list(known)[: -self._most]:
            del known[each]
        self._secrets = known
        found = {spelling for each in known for spelling in spellings_of(each)}
        self.spellings = tuple(sorted(found, key=lambda each: (-len(each), each)))

    def clear(self) -> None:
        self._secrets, self.spellings = {}, ()


LEARNED = LearnedSecrets()
"""Those of this process."""


def learn_secrets(*secrets: str) -> None:
    """Keep ``secrets`` out of what this process logs from now on."""
    LEARNED.learn(secrets)
