"""Models and clips for the benchmarks, prepared on disk so that each worker reads its own.

Everything here imports what it needs inside its functions: workers of PyTorch never import jax.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODELS = ("tiny.en", "base")
BATCH = 16
MAX_NEW_TOKENS = 128


@dataclass(frozen=True)
class Clips:
    """samples: of each clip, float32 at 16 kHz. texts: what is said in them."""

    samples: list[Any]
    texts: list[str]

    @property
    def unlabelled(self) -> list[Any]:
        """As our own labelling takes them."""
        from distil_jax.data.speech import Clip

        return [
            Clip(str(i), "benchmark", str(i), 0.0, samples, None, "en", None)
            for i, samples in enumerate(self.samples)
        ]

    @property
    def batches(self) -> list[list[Any]]:
        return [self.samples[i : i + BATCH] for i in range(0, len(self.samples), BATCH)]


def locations(model: str) -> Any:
    """Where the real weights are: in packages of the extra `demo`."""
    from tests.made_up import DEMO_BASE, DEMO_TINY

    return {"tiny.en": DEMO_TINY, "base": DEMO_BASE}[model]


def transcriber(model: str, batch: int = BATCH, **decode: Any) -> tuple[Any, dict, Any]:
    """Ours, as every run has it: (transcriber, its placed parameters, the loaded model)."""
    from distil_jax.allocator import share_freed_memory
    from distil_jax.models.pretrained import load_pretrained
    from tests.decodings import transcriber_of

    share_freed_memory()
    loaded = load_pretrained(locations(model))
    made = transcriber_of(loaded, batch_size=batch, **{"max_new_tokens": MAX_NEW_TOKENS, **decode})
    return made, made.place(loaded.params), loaded


QUICKSTART = "package:distil_jax/quickstart/train"


def write_clips(
    path: Path, count: int, recordings: str = QUICKSTART, join: float | None = None
) -> float:
    """The first of the recordings in a folder (of English). Returns their seconds.

    join: one after the other goes into a clip of at most so many seconds.
    """
    import numpy as np

    from distil_jax.data.quarantine import Quarantine
    from distil_jax.data.speech import SpeechConfig, clips, open_corpus

    source = SpeechConfig(path=recordings, language="en", limit=count)
    found = list(clips("some", open_corpus("some", source), Quarantine(None)))
    joined = np.concatenate([clip.samples for clip in found])
    lengths, texts = [], []
    for clip in found:
        length, text = len(clip.samples), clip.text or ""
        if join and lengths and lengths[-1] + length <= join * 16_000:
            lengths[-1] += length
            texts[-1] += " " + text
        else:
            lengths.append(length)
            texts.append(text)
    np.savez(path, joined=joined, lengths=np.array(lengths), texts=texts)
    return len(joined) / 16_000


def read_clips(path: Path) -> Clips:
    import numpy as np

    with np.load(path) as stored:
        ends = np.cumsum(stored["lengths"])[:-1]
        return Clips(np.split(stored["joined"], ends), stored["texts"].tolist())


def write_batch(path: Path, model: str, tokens: int) -> dict[str, Any]:
    """A training batch of the first clips with their transcripts for labels."""
    import numpy as np

    from distil_jax.data.batch import make_batch
    from distil_jax.data.targets import build_target
    from distil_jax.models.pretrained import load_pretrained
    from distil_jax.pipeline.examples import target_tokens

    names = load_pretrained(locations(model)).vocabulary
    write_clips(path, BATCH)
    clips = read_clips(path)
    prefix, ids = names.prefix("en", timestamps=True), target_tokens(names, tokens)
    labels = [[*names.encode(" " + text), names.end] for text in clips.texts]
    targets = [build_target(ids, prefix, label) for label in labels]
    seconds = [len(samples) / 16_000 for samples in clips.samples]
    batch = make_batch(clips.samples, seconds, targets, [tokens], 480_000)
    np.savez(path, **{name: array for name, array in vars(batch).items() if array is not None})
    return {"tokens that count": f"{int(batch.mask.sum())} of {batch.mask.size}"}


def write_torch_model(folder: Path, model: str, decoder_layers: int | None = None) -> None:
    """The model, or a student cut from it, as transformers loads it: by our own export."""
    from distil_jax.export.hugging_face import write_folder
    from distil_jax.models.pretrained import load_pretrained
    from distil_jax.students.layer_copy import StudentConfig, copy_layers, student_shape

    ours = load_pretrained(locations(model))
    shape = student_shape(ours.config, StudentConfig(decoder_layers=decoder_layers))
    params = copy_layers(ours.params, ours.config, shape)
    write_folder(folder, shape, params, ours.vocabulary, ours.generation_config, "")


def write_ctranslate2_model(folder: Path, model: str) -> None:
    """The packages' own files, with model.bin in one part."""
    from distil_jax.models.pretrained import load_pretrained
    from distil_jax.models.weight_files import bin_parts, model_files

    places = locations(model)
    files = model_files([places] if isinstance(places, str) else places, None)
    folder.mkdir()
    for name, path in files.items():
        if not name.startswith("model.bin"):
            (folder / name).write_bytes(path.read_bytes())
    with open(folder / "model.bin", "wb") as joined:
        for part in bin_parts(files):
            joined.write(part.read_bytes())
    prompt = load_pretrained(places).vocabulary.prefix("en")
    (folder / "prompt.json").write_text(json.dumps(prompt), encoding="utf-8")


def torch_model(folder: Path) -> Any:
    """A model of `write_torch_model` with SDPA attention, float32, on all cores of the worker."""
    import os

    import torch
    import transformers

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers.WhisperForConditionalGeneration.from_pretrained(
        folder, attn_implementation="sdpa"
    )


def torch_features(folder: Path) -> Any:
    """Clips of samples -> log-mel, by transformers' extractor, which computes it in PyTorch."""
    import transformers

    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)

    def features(clips: list[Any]) -> Any:
        return extractor(clips, sampling_rate=16_000, return_tensors="pt").input_features

    return features
