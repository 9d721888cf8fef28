"""Tokenizer files -> the content of one tokenizer.json with every special token and timestamp."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from distil_jax.errors import UserError

TIMESTAMPS = 1501  # <|0.00|> to <|30.00|> in steps of 0.02 s
_FILES = "tokenizer.json, or vocab.json and merges.txt"


def has_tokenizer(files: Mapping[str, Path]) -> bool:
    """Whether these files, by name, hold a tokenizer."""
    return "tokenizer.json" in files or {"vocab.json", "merges.txt"} <= set(files)


def read_tokenizer(files: Mapping[str, Path], source: str) -> dict[str, Any]:
    """The content of tokenizer.json, read or made of the older files.

    Old tokenizers lack the timestamps: they are added behind <|notimestamps|>.
    """
    if not has_tokenizer(files):
        got = ", ".join(sorted(files)) or "no files"
        raise UserError(f"{source}: no tokenizer. Expected {_FILES}; got {got}.")
    path = files.get("tokenizer.json", files.get("vocab.json"))
    try:
        tokenizer = _from_json(files) if "tokenizer.json" in files else _from_vocab(files)
        return _with_timestamps(_with_first_merge(tokenizer))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not a usable byte-level BPE tokenizer ({type(error).__name__}: {error})."
        ) from error


def added_ids(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """Ids of the special tokens and timestamps, by name."""
    return {token["content"]: token["id"] for token in tokenizer["added_tokens"]}


def plain_tokenizer(tokenizer: Mapping[str, Any]) -> Tokenizer:
    """For text only: '<|endoftext|>' in a transcript is thirteen characters, not the end."""
    plain = dict(tokenizer, added_tokens=[], post_processor=None, truncation=None, padding=None)
    return Tokenizer.from_str(json.dumps(plain))


def added_token(name: str, index: int, special: bool) -> dict[str, Any]:
    """An entry of `added_tokens`."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": not special}
    return {"id": index, "content": name, **flags, "special": special}


def merges(tokenizer: Mapping[str, Any]) -> list[str]:
    """The merges as lines of merges.txt; files of different age hold strings or pairs."""
    return [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]


def _from_json(files: Mapping[str, Path]) -> dict[str, Any]:
    tokenizer = json.loads(files["tokenizer.json"].read_text(encoding="utf-8"))
    if tokenizer["model"].get("type", "BPE") != "BPE":
        raise ValueError(f"its model is {tokenizer['model']['type']}, expected BPE")
    return tokenizer


def _with_first_merge(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """Some converters took the first merge of merges.txt for its header, and lost it.

    A text is then encoded as no model ever saw it: " the" as " " and "the". Behind the 256 bytes,
    the tokens of a byte-level vocabulary stand in the order of the merges that make them.
    """
    names = {i: name for name, i in tokenizer["model"]["vocab"].items()}
    first, second = names.get(256, ""), names.get(257)
    rules = merges(tokenizer)
    if len(first) != 2 or not rules or rules[0].replace(" ", "") != second:
        return tokenizer
    return dict(tokenizer, model=dict(tokenizer["model"], merges=[" ".join(first), *rules]))


def _from_vocab(files: Mapping[str, Path]) -> dict[str, Any]:
    vocab = json.loads(files["vocab.json"].read_text(encoding="utf-8"))
    lines = files["merges.txt"].read_text(encoding="utf-8").split("\n")
    rules = [line for line in lines if line and not line.startswith("#version")]
    added = {name: i for name, i in vocab.items() if name.startswith("<|") and name.endswith("|>")}
    if "added_tokens.json" in files:
        added |= json.loads(files["added_tokens.json"].read_text(encoding="utf-8"))
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            added_token(name, i, special=not _is_timestamp(name))
            for name, i in sorted(added.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": dict(level, add_prefix_space=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "vocab": vocab,
            "merges": rules,
        },
    }


def _is_timestamp(name: str) -> bool:
    return name[2:3].isdigit()


def _with_timestamps(tokenizer: dict[str, Any]) -> dict[str, Any]:
    ids = added_ids(tokenizer)
    first = ids.get("<|0.00|>", ids.get("<|notimestamps|>", 0) + 1)
    if "<|notimestamps|>" not in ids:
        return tokenizer  # the vocabulary will say what is missing
    names = {f"<|{0.02 * step:.2f}|>": first + step for step in range(TIMESTAMPS)}
    taken = {i: name for name, i in ids.items()}
    for name, i in names.items():
        if ids.get(name, i) != i or taken.get(i, name) != name:
            raise ValueError(f"expected id {i} for {name}, got {ids.get(name)} ({taken.get(i)})")
    new = [added_token(name, i, special=False) for name, i in names.items() if name not in ids]
    return dict(tokenizer, added_tokens=[*tokenizer["added_tokens"], *new])
