"""A long recording through windows: ours against transformers' pipeline, both in float32.

    python -m tests.benchmarks.longform [--model base] [--minutes 5] [--rounds 3] [--timestamps]

Compared: longform.chunked.transcribe_chunked, as `distil-jax transcribe` calls it; transformers'
AutomaticSpeechRecognitionPipeline with chunk_length_s=30, in PyTorch with SDPA attention.

The same in both: weights; one flac file, read from disk; windows of 30 s that share 5 s on each
side, in batches of 8; greedy, each window once, at most 200 new tokens; the merge.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks import figures, harness, materials
from tests.benchmarks.harness import Contender

OURS, TRANSFORMERS = "ours", "transformers"
BATCH, MAX_NEW_TOKENS = 8, 200
Run = Callable[[], str]


def prepare(folder: Path, model: str, minutes: float) -> dict[str, Any]:
    """The model for PyTorch, and the quickstart's training recordings joined, over and over."""
    import numpy as np
    import soundfile

    materials.write_torch_model(folder / "torch", model)
    materials.write_clips(folder / "clips.npz", 126)
    pause = np.zeros(8_000, np.float32)
    joined = np.concatenate(
        [
            part
            for clip in materials.read_clips(folder / "clips.npz").samples
            for part in (clip, pause)
        ]
    )
    sound = np.resize(joined, round(minutes * 60 * 16_000))
    soundfile.write(folder / "long.flac", sound, 16_000)
    return {"seconds of audio": len(sound) / 16_000}


def ours(folder: Path, model: str, timestamps: bool) -> Run:
    from distil_jax.allocator import share_freed_memory
    from distil_jax.data.quarantine import Quarantine
    from distil_jax.labelling.settings import DecodeConfig
    from distil_jax.labelling.transcriber import Transcriber
    from distil_jax.longform.chunked import transcribe_chunked
    from distil_jax.longform.transcript import Recording
    from distil_jax.mesh import MeshConfig, make_mesh
    from distil_jax.models.layers import Compute
    from distil_jax.models.pretrained import load_pretrained

    share_freed_memory()  # as every run does
    loaded = load_pretrained(materials.locations(model))
    decode = DecodeConfig(
        batch_size=BATCH, max_new_tokens=MAX_NEW_TOKENS, timestamps=timestamps, language="en"
    )
    transcriber = Transcriber(
        loaded.config,
        loaded.vocabulary,
        loaded.generation_config,
        decode,
        make_mesh(MeshConfig()),
        MeshConfig().rules,
        Compute(),
    )
    params = transcriber.place(loaded.params)
    recording = Recording("benchmark", "long.flac", folder / "long.flac")

    def run() -> str:
        [found] = transcribe_chunked(transcriber, params, [recording], Quarantine(None))
        return found.text

    return run


def transformers(folder: Path, timestamps: bool) -> Run:
    import soundfile
    import torch
    from transformers import (
        AutomaticSpeechRecognitionPipeline,
        WhisperFeatureExtractor,
        WhisperTokenizer,
    )

    model = materials.torch_model(folder / "torch").eval()
    pipeline = AutomaticSpeechRecognitionPipeline(
        model=model,
        tokenizer=WhisperTokenizer.from_pretrained(folder / "torch"),
        feature_extractor=WhisperFeatureExtractor.from_pretrained(folder / "torch"),
        device=torch.device("cpu"),
    )
    options: dict[str, Any] = {"max_new_tokens": MAX_NEW_TOKENS, "num_beams": 1}
    if model.generation_config.is_multilingual:
        options |= {"language": "en", "task": "transcribe"}
    if timestamps:
        options["force_unique_generate_call"] = True

    @torch.inference_mode()
    def run() -> str:
        samples, rate = soundfile.read(folder / "long.flac", dtype="float32")
        found: Any = pipeline(
            {"raw": samples, "sampling_rate": rate},
            chunk_length_s=30,
            ignore_warning=True,
            batch_size=BATCH,
            return_timestamps=timestamps,
            generate_kwargs=options,
        )
        return found["text"].strip()

    return run


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--model", choices=materials.MODELS, default="tiny.en")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--timestamps", action="store_true")
    options = parser.parse_args()
    machine = figures.machine(options.cores)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = harness.aside(prepare, folder, options.model, options.minutes)
        contenders = [
            Contender(OURS, ours, (folder, options.model, options.timestamps)),
            Contender(TRANSFORMERS, transformers, (folder, options.timestamps)),
        ]
        timings = harness.measure(contenders, options.rounds, options.cores)
    texts = {name: timing.warm_up[0] for name, timing in timings.items()}
    facts["same text"] = texts[OURS] == texts[TRANSFORMERS]
    for name, timing in timings.items():
        speed = facts["seconds of audio"] / timing.median
        facts[name] = f"{len(texts[name])} letters, {speed:.1f} seconds of audio in a second"
    figures.report(timings, [(OURS, TRANSFORMERS)], machine, vars(options) | facts, options.json)


if __name__ == "__main__":
    main()
