"""What a run begins with, made up: a teacher of random weights, noises, and a config for them."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import soundfile
import yaml

from distil_jax.export.hugging_face import write_folder
from distil_jax.models.tokenizer_files import read_tokenizer
from distil_jax.models.vocabulary import make_vocabulary
from distil_jax.models.whisper import WhisperConfig, init
from tests.made_up import MULTILINGUAL, write_generation_config, write_tokenizer


def write_teacher(folder: Path) -> None:
    """Of 99 languages: it knows no Cantonese."""
    parts = folder.with_name("parts")
    parts.mkdir()
    write_tokenizer(parts, MULTILINGUAL)
    generation = write_generation_config(parts, MULTILINGUAL)
    config = WhisperConfig.from_hf({**MULTILINGUAL.hf_config, "encoder_layers": 1})
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda a: a + rng.normal(0, 0.3, a.shape).astype(np.float32), init(config)
    )
    files = {path.name: path for path in parts.iterdir()}
    tokenizer = read_tokenizer(files, "made up")
    vocabulary = make_vocabulary(tokenizer, generation, config.vocab_size, "made up")
    write_folder(folder, config, params, vocabulary, generation, "made up")


def write_sounds(folder: Path, seconds: list[float], texts: bool) -> None:
    """Noises; beside them either their transcripts, or a manifest of languages and one bad file."""
    folder.mkdir()
    rng = np.random.default_rng(len(seconds))
    for number, duration in enumerate(seconds):
        noise = rng.normal(0, 0.1, int(duration * 16_000)).astype(np.float32)
        soundfile.write(folder / f"{number}.wav", noise, 16_000)
        if texts:
            (folder / f"{number}.txt").write_text("the text")
    if not texts:
        (folder / "bad.wav").write_bytes(b"RIFF")
        rows = [{"audio": f"{n}.wav", "language": "en"} for n in range(len(seconds))]
        rows[1]["language"] = "yue"
        rows.append({"audio": "bad.wav", "language": "en"})
        (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_inputs(folder: Path) -> Path:
    """All that a run needs, in `folder`; the path of its config."""
    write_teacher(folder / "teacher")
    write_sounds(folder / "train", [1.0] * 14, texts=False)
    write_sounds(folder / "test", [1.0] * 3, texts=True)
    path = folder / "made_up.yaml"
    path.write_text(yaml.safe_dump(_sections(folder)))
    return path


def _sections(folder: Path) -> dict[str, Any]:
    return {
        "name": "made-up",
        "run_dir": str(folder / "run"),
        "teacher": {"weights": str(folder / "teacher")},
        "data": {
            "train": {"noises": {"path": str(folder / "train")}},
            "evaluation": {"held_out": {"path": str(folder / "test"), "language": "en"}},
        },
        "label": {"batch_size": 8, "max_new_tokens": 6, "shard_size": 8},
        "student": {"decoder_layers": 1},
        "objectives": [{"name": "cross_entropy"}, {"name": "kl"}],
        "train": {
            "steps": 2,
            "batch_size": 8,
            "loss_chunk": 64,
            "target_lengths": [16],
            "validation_clips": 1,
            "log_every": 1,
            "validate_every": 2,
            "save_every": 1,
        },
        "evaluate": {"batch_size": 8, "max_new_tokens": 6, "resamples": 100},
        "export": {"alignment_clips": 3},
    }
