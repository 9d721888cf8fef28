"""What a teacher's weight dtype does to its labels: texts, error rates, bytes, seconds.

    python -m tests.benchmarks.teacher_dtypes [--model base] [--clips 32] [--products bfloat16]

Labels the quickstart's recordings with each `teacher.weight_dtype`, products in one dtype, and
compares with the labels of float32 weights and with the transcripts. Word error rates are of
normalised texts, as in filter and evaluation. Seconds are of one pass after one that compiled, in
one process: a hint, no measurement.
"""

import argparse
import json
import time
from typing import Any, get_args

import jax

from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Clip, SpeechConfig, clips, open_corpus
from distil_jax.data.text import normaliser
from distil_jax.evaluation.error_rates import corpus_error_rate
from distil_jax.labelling.label import Label
from distil_jax.models.layers import Compute
from distil_jax.models.pretrained import Pretrained, load_pretrained
from distil_jax.models.quantized import WeightDtype
from distil_jax.settings import Dtype
from tests.benchmarks import materials
from tests.decodings import transcriber_of

DTYPES: tuple[WeightDtype, ...] = ("float32", "bfloat16", "int8")


def recordings(count: int) -> list[Clip]:
    source = SpeechConfig(path="package:distil_jax/quickstart/train", language="en", limit=count)
    return list(clips("quickstart", open_corpus("quickstart", source), Quarantine(None)))


def label(
    teacher: Pretrained, weights: WeightDtype, products: Dtype, heard: list[Clip]
) -> tuple[list[Label], dict[str, Any]]:
    """The labels, and what they took."""
    transcriber = transcriber_of(
        teacher,
        compute=Compute(dtype=products),
        weights=weights,
        batch_size=min(len(heard), materials.BATCH),
        max_new_tokens=materials.MAX_NEW_TOKENS,
    )
    params = transcriber.place(teacher.params)
    list(transcriber(params, heard[:1]))
    start = time.perf_counter()
    labels = [label for _, label in transcriber(params, heard)]
    seconds = time.perf_counter() - start
    blocks = [params[side]["blocks"] for side in ("encoder", "decoder")]
    return labels, {
        "bytes": sum(a.nbytes for a in jax.tree.leaves(params)),
        "bytes_of_blocks": sum(a.nbytes for a in jax.tree.leaves(blocks)),
        "seconds": round(seconds, 2),
    }


def error_rate(references: list[str], texts: list[str]) -> float | None:
    """Word error rate in percent."""
    return corpus_error_rate([(a, b, "en") for a, b in zip(references, texts, strict=True)])


def compare(teacher: Pretrained, products: Dtype, heard: list[Clip]) -> list[dict[str, Any]]:
    """A row for each dtype; the first is what the others are compared with."""
    plain, rows, first = normaliser("en"), [], []
    for weights in DTYPES:
        labels, cost = label(teacher, weights, products, heard)
        texts = [each.text for each in labels]
        first = first or texts
        same = sum(plain(a) == plain(b) for a, b in zip(first, texts, strict=True))
        rows.append(
            {
                "weights": weights,
                "same_text": f"{same} of {len(texts)}",
                "same_letters": sum(a == b for a, b in zip(first, texts, strict=True)),
                "error_rate_against_float32": error_rate(first, texts),
                "error_rate": error_rate([clip.text or "" for clip in heard], texts),
                "mean_logprob": sum(each.mean_logprob for each in labels) / len(labels),
                **cost,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=materials.MODELS, default="tiny.en")
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--products", choices=get_args(Dtype), default="float32")
    parser.add_argument("--json", action="store_true", help="print one JSON object a dtype")
    options = parser.parse_args()
    teacher = load_pretrained(materials.locations(options.model))
    for row in compare(teacher, options.products, recordings(options.clips)):
        if options.json:
            print(json.dumps(row))
        else:
            print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
