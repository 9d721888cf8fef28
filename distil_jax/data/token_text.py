"""Plain text as tokens: read, cut into parts, a tokenizer of its own, batches of windows.

b sequences, t tokens a sequence.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from distil_jax.errors import UserError
from distil_jax.run import atomic_path, fingerprint

log = logging.getLogger(__name__)

Part = Literal["teacher", "student", "validation"]
PARTS: tuple[Part, ...] = ("teacher", "student", "validation")
_BLOCK = 16_384  # characters that stay together
_PERIOD = 21  # of so many blocks one validates; of the others teachers and students get every other


@dataclass(frozen=True)
class TokenText:
    """tokens: of each part, integers [n]. id, text_id: short hashes, of the text and how it was
    cut, and of the text alone."""

    tokens: Mapping[str, np.ndarray]
    id: str
    text_id: str


def prepare(folder: Path, paths: Sequence[str], vocabulary: int) -> TokenText:
    """Text files as tokens, kept in `folder` with their tokenizer; made once.

    paths: files, or folders of .txt files. vocabulary: how many tokens the tokenizer has.
    Raises UserError where there is no text, too little of it, or another one than was kept.
    """
    texts = [_read(path) for path in _files(paths)]
    id = fingerprint(texts, vocabulary)
    kept = folder / "tokens.safetensors"
    if not kept.exists():
        parts = split(texts)
        tokenizer = train_tokenizer((parts["teacher"], parts["student"]), vocabulary)
        with atomic_path(folder / "tokenizer.json") as path:
            tokenizer.save(str(path))
        tokens = {part: _encoded(tokenizer, blocks) for part, blocks in parts.items()}
        with atomic_path(kept) as path:
            save_file(tokens, path, {"id": id})
    return TokenText(_load(kept, id), id, fingerprint(texts))


def split(texts: Sequence[str]) -> dict[str, list[str]]:
    """Blocks of whole lines: teachers and students learn from different ones, and validate on
    neither's."""
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    blocks = (block for text in texts for block in _blocks(text))
    for number, block in enumerate(blocks):
        place = number % _PERIOD
        parts[PARTS[place % 2] if place else "validation"].append(block)
    if not all(parts.values()):
        raise UserError(
            f"the text is too short: {sum(map(len, texts)):,} characters; expected "
            f"{3 * _BLOCK:,} and more, so that there is some for teachers, students and validation"
        )
    return parts


def train_tokenizer(parts: Sequence[Sequence[str]], vocabulary: int) -> Tokenizer:
    """Byte pairs, as GPT-2's: any text can be said in it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocabulary < len(alphabet):
        raise UserError(f"a vocabulary of {vocabulary} tokens; expected {len(alphabet)} or more")
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator((block for part in parts for block in part), trainer)
    return tokenizer


class Windows:
    """Endless batches of `context` tokens and the one after each: [b, context + 1] int32.

    Every window of the text once an epoch, in an order of that epoch's own. It keeps to
    training.loop.Batches; the position is the number of batches so far.
    """

    def __init__(self, tokens: np.ndarray, context: int, batch_size: int, seed: int):
        self.count = (len(tokens) - 1) // context
        if self.count < 1:
            raise UserError(f"got {len(tokens)} tokens, which are no window of {context} and one")
        self._tokens, self._context, self._batch_size = tokens, context, batch_size
        self._order = lru_cache(2)(lambda epoch: _permutation(seed, epoch, self.count))
        self._done = 0

    def __next__(self) -> np.ndarray:
        first = self._done * self._batch_size
        self._done += 1
        return self.rows(range(first, first + self._batch_size))

    def rows(self, numbers: Sequence[int]) -> np.ndarray:
        """The windows of these numbers, counted from the first epoch's first."""
        places = [self._order(number // self.count)[number % self.count] for number in numbers]
        starts = np.array(places)[:, None] * self._context
        return self._tokens[starts + np.arange(self._context + 1)].astype(np.int32)

    def once(self) -> Iterator[np.ndarray]:
        """Batches of all windows; what is left over of the last batch is left out, unless it is
        the only one."""
        whole = max(1, self.count // self._batch_size)
        for batch in range(whole):
            first = batch * self._batch_size
            yield self.rows(range(first, min(first + self._batch_size, self.count)))

    def get_state(self) -> dict:
        return {"batches": self._done}

    def set_state(self, state: dict) -> None:
        self._done = int(state["batches"])


def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


def _files(paths: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(path.glob("*.txt"))
            if not inside:
                raise UserError(f"{path} is a folder without .txt files")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"there is no text at {path}: expected a file, or a folder of .txt")
    return found


def _read(path: Path) -> str:
    """UTF-8, or else what older files on the web mostly are."""
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            text = path.read_text(encoding=encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            if encoding == "cp1252":
                log.warning("%s is not UTF-8: read as Windows-1252 (Latin-1)", path)
            return text
    raise UserError(f"{path} is no plain text: neither UTF-8 nor Windows-1252. Leave it out.")


def _blocks(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start + _BLOCK) + 1
        yield text[start : end or len(text)]
        start = end or len(text)


def _encoded(tokenizer: Tokenizer, blocks: Sequence[str]) -> np.ndarray:
    ids = [np.array(each.ids) for each in tokenizer.encode_batch_fast(list(blocks))]
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32
    return np.concatenate(ids).astype(dtype)


def _load(path: Path, id: str) -> dict[str, np.ndarray]:
    try:
        with safe_open(path, "numpy") as file:
            if (file.metadata() or {}).get("id") != id:
                raise UserError(
                    f"{path} holds tokens of another text or vocabulary. Choose another run_dir, "
                    f"or go on with the text that it was made of."
                )
            return {part: file.get_tensor(part) for part in PARTS}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}): remove it, and it is made anew") from None
