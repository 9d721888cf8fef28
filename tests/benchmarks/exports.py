"""Each export in the tool that it is for: do faster-whisper and whisper.cpp write what we write?

    python -m tests.benchmarks.exports [--model base] [--clips 32]

Exports real weights in every precision and lets each tool transcribe the quickstart's test set,
greedily, in English and without timestamps, by its own log-mel. Texts are compared with those of
our own decoding in float32, as they are and normalised; error rates are against the transcripts.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from distil_jax.data.speech import Clip
from distil_jax.data.text import normaliser
from distil_jax.evaluation.error_rates import corpus_error_rate
from distil_jax.export import ctranslate2, ggml
from distil_jax.models.pretrained import load_pretrained
from tests.benchmarks import materials
from tests.made_up_student import as_it_is
from tests.transcribed import label, recordings

Tool = Callable[[Clip], str]


def faster_whisper(folder: Path) -> Tool:
    from faster_whisper import WhisperModel  # pyright: ignore[reportMissingImports]

    model = WhisperModel(str(folder), device="cpu", compute_type="default")
    options: dict[str, Any] = {"beam_size": 1, "temperature": 0, "without_timestamps": True}

    def transcribe(clip: Clip) -> str:
        segments, _ = model.transcribe(clip.samples, language="en", **options)
        return "".join(segment.text for segment in segments).strip()

    return transcribe


def whisper_cpp(folder: Path) -> Tool:
    from pywhispercpp.model import Model  # pyright: ignore[reportMissingImports]

    options = {"no_timestamps": True, "temperature_inc": 0.0, "n_threads": 2}
    path = str(folder / ggml.WEIGHTS)
    model = Model(path, redirect_whispercpp_logs_to=None, print_progress=False, **options)

    def transcribe(clip: Clip) -> str:
        found = model.transcribe(clip.samples, language="en")
        return " ".join(segment.text for segment in found)

    return transcribe


# Who loads what each writer writes, in each of its precisions.
EXPORTS = [
    *((faster_whisper, ctranslate2, {"weights": each}) for each in get_args(ctranslate2.Weights)),
    (whisper_cpp, ggml, {}),
]


def rows(model: str, count: int) -> Iterator[dict[str, Any]]:
    """One for each format and precision."""
    loaded, heard = load_pretrained(materials.locations(model)), recordings(count)
    ours = [each.text for each in label(loaded, heard)]
    references = [clip.text or "" for clip in heard]
    yield {"tool": "ours", "weights": "float32", "error_rate": error_rate(references, ours)}
    for tool, module, precision in EXPORTS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            module.write_files(folder, as_it_is(loaded), **precision)
            texts = list(map(tool(folder), heard))
            yield {
                "tool": tool.__name__,
                "weights": precision.get("weights", ggml.PRECISION),
                "megabytes": round((folder / module.WEIGHTS).stat().st_size / 1e6, 1),
                **agreement(ours, texts),
                "error_rate": error_rate(references, texts),
            }


def agreement(ours: list[str], theirs: list[str]) -> dict[str, str]:
    plain, pairs = normaliser("en"), list(zip(ours, theirs, strict=True))
    same = {
        "same_letters": sum(a == b for a, b in pairs),
        "same_text": sum(plain(a) == plain(b) for a, b in pairs),
    }
    return {name: f"{count} of {len(pairs)}" for name, count in same.items()}


def error_rate(references: list[str], texts: list[str]) -> float | None:
    """Word error rate in percent, of normalised texts."""
    return corpus_error_rate([(a, b, "en") for a, b in zip(references, texts, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=materials.MODELS, default="tiny.en")
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    options = parser.parse_args()
    for row in rows(options.model, options.clips):
        shown = (f"{name.replace('_', ' ')} {value}" for name, value in row.items())
        print(json.dumps(row) if options.json else ", ".join(shown), flush=True)


if __name__ == "__main__":
    main()
