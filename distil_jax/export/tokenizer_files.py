"""The tokenizer's files, for transformers of today (tokenizer.json) and before (vocab.json)."""

import json
from typing import Any

from distil_jax.models.tokenizer_files import merges
from distil_jax.models.vocabulary import Vocabulary

END = "<|endoftext|>"
_ROLES = {"bos_token": END, "eos_token": END, "unk_token": END, "pad_token": END}


def tokenizer_files(vocabulary: Vocabulary, most_tokens: int) -> dict[str, str]:
    """File names and contents. most_tokens: the decoder's longest input."""
    tokenizer = vocabulary.tokenizer
    vocab = tokenizer["model"]["vocab"]
    added = sorted(tokenizer["added_tokens"], key=lambda token: token["id"])
    special = [token["content"] for token in added if token["special"]]
    extra = [name for name in special if name != END]
    new = {token["content"]: token["id"] for token in added if token["content"] not in vocab}
    config = {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        **_ROLES,
        "additional_special_tokens": extra,
        "added_tokens_decoder": {str(token["id"]): _flags(token) for token in added},
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,  # text as the model wrote it
        "errors": "replace",
        "model_max_length": most_tokens,
    }
    return {
        "tokenizer.json": _text(tokenizer),
        "tokenizer_config.json": _text(config),
        "special_tokens_map.json": _text({**_ROLES, "additional_special_tokens": extra}),
        "added_tokens.json": _text(new),
        "vocab.json": json.dumps(vocab, ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *merges(tokenizer)]) + "\n",
    }


def _flags(token: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in token.items() if name != "id"}


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
