"""Tokenizes texts behind their prompts, for plain transformers; without torch."""

from collections.abc import Collection, Sequence

from serve_models.text.models.tokenizing import (
    RustTokenizer,
    TextInput,
    TokenizedText,
    take_token_ids,
)


class PromptedTokenizer:
    """Tokenizes each text behind its prompt.

    Args:
        tokenizer: The checkpoint's.
        special_ids: The ids of its special tokens.
        counts_prompts: Whether pooling leaves prompts out, and so needs their lengths.
    """

    def __init__(
        self, tokenizer: RustTokenizer, *, special_ids: Collection[int], counts_prompts: bool
    ) -> None:
        self.tokenizer = tokenizer
        self.special_ids = frozenset(special_ids)
        self.counts_prompts = counts_prompts
        self._prompt_tokens: dict[str, int] = {"": 0}

    def tokenize(self, texts: Sequence[TextInput], prompts: Sequence[str]) -> list[TokenizedText]:
        if not any(prompts):
            return self.tokenizer.encode(texts)
        tokenized = self.tokenizer.encode(
            [_behind(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        )
        if self.counts_prompts:
            for text, prompt in zip(tokenized, prompts, strict=True):
                text.prompt_tokens = self._count_prompt(prompt)
        return tokenized

    def take_token_ids(self, ids: Sequence[Sequence[int]]) -> list[TokenizedText]:
        max_tokens = self.tokenizer.spec.max_tokens
        return [take_token_ids(each, max_tokens, self.special_ids) for each in ids]

    def _count_prompt(self, prompt: str) -> int:
        """Count as the library does: a trailing special token does not belong to the prompt."""
        if prompt not in self._prompt_tokens:
            ids = self.tokenizer.encode_ids(prompt)
            self._prompt_tokens[prompt] = len(ids) - (ids[-1] in self.special_ids)
        return self._prompt_tokens[prompt]


def _behind(prompt: str, text: TextInput) -> TextInput:
    return prompt + text if isinstance(text, str) else (prompt + text[0], text[1])
