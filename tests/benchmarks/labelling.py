"""Greedy labelling of real recordings, ours against transformers and CTranslate2, in float32.

    python -m tests.benchmarks.labelling [--model base] [--clips 64] [--int8] [--bfloat16]
    python -m tests.benchmarks.labelling --model base --recordings FOLDER --clips 160 [--join 30]

Compared: labelling.transcriber.Transcriber, as `distil-jax label` calls it, with its scores;
`generate` of transformers' Whisper in PyTorch with SDPA attention; CTranslate2, the engine of
faster-whisper, called directly so that it too gets whole batches.

--int8 adds CTranslate2 with weights and products of 8 bits, and --bfloat16 ours with
`label.dtype=bfloat16`; neither is exact. --join puts the
recordings one after the other into clips of up to so many seconds: a clip costs 30 s of encoding
however short it is.

The same in all: weights; decoded clips in memory, in batches of 16 (ours chooses which go together,
by their length; the others take them in order); log-mel from samples;
prompt; at most 128 new tokens; tokens to text. Ours and transformers take the log-mel of clips
padded to 30 s; CTranslate2's is faster-whisper's own, which pads after it: that costs less, and may
change a text. Ours fills a last batch up to 16, the others do not: take a multiple.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distil_jax.settings import Dtype
from tests.benchmarks import figures, harness, materials
from tests.benchmarks.harness import Contender

OURS, TRANSFORMERS, CTRANSLATE2, INT8 = "ours", "transformers", "CTranslate2", "CTranslate2 int8"
BFLOAT16 = "ours bfloat16"
Run = Callable[[], list[str]]


def prepare(
    folder: Path, model: str, count: int, recordings: str, join: float | None
) -> dict[str, Any]:
    materials.write_torch_model(folder / "torch", model)
    materials.write_ctranslate2_model(folder / "ctranslate2", model)
    seconds = materials.write_clips(folder / "clips.npz", count, recordings, join)
    return {"seconds of audio": round(seconds, 2)}


def ours(folder: Path, model: str, dtype: Dtype) -> Run:
    from distil_jax.models.layers import Compute

    transcriber, params, _ = materials.transcriber(model, compute=Compute(dtype=dtype))
    clips = materials.read_clips(folder / "clips.npz").unlabelled
    return lambda: [label.text for _, label in transcriber(params, clips)]


def transformers(folder: Path) -> Run:
    import torch
    from transformers import WhisperTokenizer

    model = materials.torch_model(folder / "torch").eval()
    features = materials.torch_features(folder / "torch")
    tokenizer = WhisperTokenizer.from_pretrained(folder / "torch")
    options: dict[str, Any] = {"max_new_tokens": materials.MAX_NEW_TOKENS, "num_beams": 1}
    if model.generation_config.is_multilingual:
        options |= {"language": "en", "task": "transcribe"}

    batches = materials.read_clips(folder / "clips.npz").batches

    @torch.inference_mode()
    def run() -> list[str]:
        tokens = [model.generate(features(batch), **options) for batch in batches]
        return [t for b in tokens for t in tokenizer.batch_decode(b, skip_special_tokens=True)]

    return run


def ctranslate2(folder: Path, compute_type: str) -> Run:
    import os

    import numpy as np
    from ctranslate2 import StorageView  # pyright: ignore[reportMissingImports]
    from ctranslate2.models import Whisper  # pyright: ignore[reportMissingImports]
    from faster_whisper.audio import pad_or_trim  # pyright: ignore[reportMissingImports]
    from faster_whisper.feature_extractor import FeatureExtractor  # pyright: ignore[reportMissingImports]
    from tokenizers import Tokenizer

    threads = len(os.sched_getaffinity(0))
    path = folder / "ctranslate2"
    model = Whisper(str(path), compute_type=compute_type, intra_threads=threads)
    features, tokenizer = FeatureExtractor(), Tokenizer.from_file(str(path / "tokenizer.json"))
    prompt = json.loads((path / "prompt.json").read_text(encoding="utf-8"))
    batches = materials.read_clips(folder / "clips.npz").batches
    # Of what it is given as the limit it makes half at most.
    limit = 2 * max(len(prompt), materials.MAX_NEW_TOKENS)

    def run() -> list[str]:
        texts = []
        for batch in batches:
            mel = np.stack([pad_or_trim(features(clip)[:, :-1]) for clip in batch])
            view = StorageView.from_array(np.ascontiguousarray(mel, np.float32))
            found = model.generate(view, [prompt] * len(batch), beam_size=1, max_length=limit)
            texts += tokenizer.decode_batch([each.sequences_ids[0] for each in found])
        return texts

    return run


def agreement(texts: dict[str, list[str]]) -> dict[str, str]:
    """On how many clips each peer's normalised text is ours."""
    from distil_jax.data.text import normaliser

    clean = normaliser("en")
    plain = {name: [clean(text) for text in each] for name, each in texts.items()}
    same = {n: sum(a == b for a, b in zip(plain[OURS], plain[n], strict=True)) for n in plain}
    return {
        f"same text as {OURS}: {n}": f"{same[n]} of {len(plain[n])}" for n in plain if n != OURS
    }


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--model", choices=materials.MODELS, default="tiny.en")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--recordings", default=materials.QUICKSTART, help="a folder of English")
    parser.add_argument("--join", type=float, help="seconds of a clip, of several recordings")
    parser.add_argument("--int8", action="store_true", help="CTranslate2's int8, too")
    parser.add_argument("--bfloat16", action="store_true", help="ours in bfloat16, too")
    options = parser.parse_args()
    machine = figures.machine(options.cores)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = options.model, options.clips, options.recordings, options.join
        facts = harness.aside(prepare, folder, *given)
        contenders = [
            Contender(OURS, ours, (folder, options.model, "float32")),
            Contender(TRANSFORMERS, transformers, (folder,)),
            Contender(CTRANSLATE2, ctranslate2, (folder, "float32")),
        ]
        if options.bfloat16:
            contenders.append(Contender(BFLOAT16, ours, (folder, options.model, "bfloat16")))
        if options.int8:
            contenders.append(Contender(INT8, ctranslate2, (folder, "int8")))
        timings = harness.measure(contenders, options.rounds, options.cores)
    texts = {name: timing.warm_up[0] for name, timing in timings.items()}
    facts |= harness.aside(agreement, texts)
    for name, timing in timings.items():
        clips, audio = len(texts[name]) / timing.median, facts["seconds of audio"] / timing.median
        facts[name] = f"{clips:.2f} clips/s, {audio:.1f} seconds of audio in a second"
    peers = [each.name for each in contenders if each.name not in (OURS, BFLOAT16)]
    mine = [OURS, BFLOAT16][: 1 + options.bfloat16]
    pairs = [(one, peer) for one in mine for peer in peers]
    figures.report(timings, pairs, machine, vars(options) | facts, options.json)


if __name__ == "__main__":
    main()
