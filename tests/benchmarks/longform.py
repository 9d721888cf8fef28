"""A long recording through windows: ours against transformers', both in float32.

    python -m tests.benchmarks.longform [--model base] [--minutes 5] [--rounds 3] [--timestamps]
    python -m tests.benchmarks.longform --sequential [--minutes 5]

Compared: longform.chunked.transcribe_chunked, as `distil-jax transcribe` calls it; transformers'
AutomaticSpeechRecognitionPipeline with chunk_length_s=30, in PyTorch with SDPA attention.

The same in both: weights; one flac file, read from disk; windows of 30 s that share 5 s on each
side, in batches of 8; greedy, each window once, at most 200 new tokens; the merge.

--sequential compares the other algorithm: longform.sequential.transcribe_sequential with `generate`
of transformers, one window after the other, without the text before and without fallback.
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


def ours(folder: Path, model: str, timestamps: bool, sequential: bool) -> Run:
    from distil_jax.data.quarantine import Quarantine
    from distil_jax.longform.settings import LongFormConfig
    from distil_jax.longform.transcribe import transcribe
    from distil_jax.longform.transcript import Recording

    how = {"max_new_tokens": MAX_NEW_TOKENS, "timestamps": timestamps, "language": "en"}
    transcriber, params, _ = materials.transcriber(model, 1 if sequential else BATCH, **how)
    recording = Recording("benchmark", "long.flac", folder / "long.flac")
    config = LongFormConfig(algorithm="sequential" if sequential else "chunked")

    def run() -> str:
        [found] = transcribe(config, transcriber, params, [recording], Quarantine(None))
        return found.text

    return run


def transformers(folder: Path, timestamps: bool) -> Run:
    """Chunked."""
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
    options = generation_options(model)
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


def transformers_sequential(folder: Path) -> Run:
    import soundfile
    import torch
    from transformers import WhisperProcessor

    model = materials.torch_model(folder / "torch").eval()
    processor: Any = WhisperProcessor.from_pretrained(folder / "torch")

    @torch.inference_mode()
    def run() -> str:
        samples, rate = soundfile.read(folder / "long.flac", dtype="float32")
        whole = {"truncation": False, "padding": "longest", "return_attention_mask": True}
        heard = processor(samples, sampling_rate=rate, return_tensors="pt", **whole)
        found = model.generate(
            **heard, return_timestamps=True, temperature=0.0, **generation_options(model)
        )
        return processor.batch_decode(found, skip_special_tokens=True)[0].strip()

    return run


def generation_options(model: Any) -> dict[str, Any]:
    """For transformers: as ours decodes."""
    told = {"language": "en", "task": "transcribe"}
    multilingual = model.generation_config.is_multilingual
    return {"max_new_tokens": MAX_NEW_TOKENS, "num_beams": 1, **(told if multilingual else {})}


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--model", choices=materials.MODELS, default="tiny.en")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--timestamps", action="store_true", help="which sequential always has")
    parser.add_argument("--sequential", action="store_true")
    options = parser.parse_args()
    timestamps = options.timestamps or options.sequential
    machine = figures.machine(options.cores)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = harness.aside(prepare, folder, options.model, options.minutes)
        contenders = [
            Contender(OURS, ours, (folder, options.model, timestamps, options.sequential)),
            Contender(TRANSFORMERS, transformers_sequential, (folder,))
            if options.sequential
            else Contender(TRANSFORMERS, transformers, (folder, timestamps)),
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
