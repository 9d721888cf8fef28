"""Faults planted in the labels of real recordings, and how well each score finds them.

    python -m tests.planted_faults distil_jax/quickstart/train distil_jax/quickstart/test

Whisper base labels the recordings, tiny.en is the second model (both from the demo extra). Half of
the clips get one of five faults, a tenth of them each:

- noise: white noise 10 dB louder than the recording is added to it before it is labelled
- language: decoded as Spanish, which it is not
- swapped: the label of another clip
- truncated: the first half of the label alone
- repeated: the label twice over

Confidence and entropy of texts that were put there are those of teacher forcing on the sound: what
decoding would have left if it had said them. A label is wrong if its error rate says so, whether a
fault was planted or not.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from distil_jax.data.batch import pad_samples
from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Clip, SpeechConfig, clips, open_corpus
from distil_jax.labelling.corpus import _row
from distil_jax.labelling.filters import FilterConfig
from distil_jax.labelling.filters.audit import Audit, auc, audit, tallies
from distil_jax.labelling.filters.base import MeasuredScore, Models
from distil_jax.labelling.filters.decide import Judge
from distil_jax.labelling.filters.error_rate import with_errors
from distil_jax.labelling.filters.measure import join, schema
from distil_jax.labelling.label import compression_ratio
from distil_jax.labelling.store import SCHEMA
from distil_jax.models.architecture import architecture_of
from distil_jax.models.layers import Compute
from distil_jax.models.log_mel import CLIP_SAMPLES
from distil_jax.models.pretrained import Pretrained, load_pretrained
from distil_jax.models.vocabulary import Vocabulary
from tests.decodings import transcriber_of
from tests.made_up import DEMO_BASE, DEMO_TINY

FAULTS = ("noise", "language", "swapped", "truncated", "repeated")
COMBINED = ("proxy", "confidence", "speech_rate")
TOLD = ("swapped", "truncated", "repeated")  # no model said these
BATCH = 16
DECODE = {"batch_size": BATCH, "max_new_tokens": 128}
CORPUS = "recordings"


def read(folders: Sequence[str], limit: int | None) -> list[Clip]:
    """Recordings, so many of each folder at most; the language of none of them is known."""
    found = []
    for folder in folders:
        corpus = open_corpus(CORPUS, SpeechConfig(path=folder, limit=limit))
        for clip in clips(CORPUS, corpus, Quarantine(None)):
            found.append(replace(clip, id=f"{folder}/{clip.id}", language=None))
    return found


def faults_of(count: int, seed: int) -> list[str]:
    """A fault for every other clip, in turn; "" for none."""
    faults = [FAULTS[number % 5] if number % 10 < 5 else "" for number in range(count)]
    random.Random(seed).shuffle(faults)
    return faults


def spoil(sounds: list[Clip], faults: list[str], seed: int) -> list[Clip]:
    """What the teacher hears."""
    rng, heard = np.random.default_rng(seed), []
    for clip, fault in zip(sounds, faults, strict=True):
        if fault == "noise":
            loud = np.sqrt(10 * np.mean(clip.samples**2))
            noise = rng.normal(0, loud, clip.samples.shape).astype(np.float32)
            clip = replace(clip, samples=clip.samples + noise)
        heard.append(replace(clip, language="es") if fault == "language" else clip)
    return heard


def plant(rows: list[dict], faults: list[str], names: Vocabulary) -> None:
    """Change the tokens of labels, and so their texts, in place."""
    tokens = [row["tokens"] for row in rows]
    swapped = [i for i, fault in enumerate(faults) if fault == "swapped"]
    others = dict(zip(swapped, swapped[1:] + swapped[:1], strict=True))
    for number, (row, fault) in enumerate(zip(rows, faults, strict=True)):
        own = tokens[number]
        if fault == "swapped":
            row["tokens"] = tokens[others[number]]
        elif fault == "truncated":
            row["tokens"] = [*own[: half(own, names)], names.end]
        elif fault == "repeated":
            row["tokens"] = [*(token for token in own if token != names.end), *own]
        row["label"] = names.decode(row["tokens"]).strip()
        row["compression_ratio"] = compression_ratio(row["label"])


def half(tokens: list[int], names: Vocabulary) -> int:
    """Where the first half of the tokens ends, before a word."""
    words = [i for i, t in enumerate(tokens) if i and names.decode([t]).startswith(" ")]
    return min(words or [1], key=lambda i: abs(i - len(tokens) / 2))


def rescore(rows: list[dict], heard: list[Clip], model: Pretrained) -> None:
    """Confidence and entropy of labels under their sounds, as decoding has them; in place."""
    transcriber, names = transcriber_of(model, **DECODE), model.vocabulary
    params = transcriber.place(model.params)
    never, not_first = (np.zeros(names.size, bool) for _ in range(2))
    never[list(names.suppress)] = not_first[list(names.begin_suppress)] = True

    @jax.jit
    def scores(params: dict, samples: jax.Array, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
        whisper = architecture_of(model.config).bind(model.config, Compute(), params)
        hidden = whisper.decoder(tokens[:, :-1], whisper.encode(samples))
        first = jnp.arange(hidden.shape[1])[:, None] == len(names.prefix("en")) - 1
        logits = whisper.decoder.logits(hidden)
        logprobs = jax.nn.log_softmax(jnp.where(never | (first & not_first), -jnp.inf, logits))
        said = jnp.take_along_axis(logprobs, tokens[:, 1:, None], axis=-1)[..., 0]
        terms = jnp.where(logprobs > -jnp.inf, jnp.exp(logprobs) * logprobs, 0.0)
        return said, -terms.sum(-1)

    for first in range(0, len(rows), BATCH):
        some, sounds = rows[first : first + BATCH], heard[first : first + BATCH]
        prefixes = [names.prefix(row["language"]) for row in some]
        told = [[*p, *row["tokens"]] for p, row in zip(prefixes, some, strict=True)]
        tokens = np.full((BATCH, -(-max(map(len, told)) // 32) * 32), names.end, np.int32)
        for i, ids in enumerate(told):
            tokens[i, : len(ids)] = ids
        samples = [clip.samples for clip in sounds] + [np.zeros(0, np.float32)] * (
            BATCH - len(some)
        )
        padded = pad_samples(samples, CLIP_SAMPLES)
        logprob, entropy = map(np.asarray, scores(params, padded, tokens))
        for i, (row, prefix, ids) in enumerate(zip(some, prefixes, told, strict=True)):
            span = slice(len(prefix) - 1, len(ids) - 1)
            row["mean_logprob"] = float(logprob[i, span].mean())
            row["mean_entropy"] = float(entropy[i, span].mean())


def measured(labels: pa.Table, heard: list[Clip], config: FilterConfig) -> pa.Table:
    """The labels and what scores that look at the sound again add."""
    models = Models(load_pretrained(DEMO_BASE), partial(transcriber_of, **DECODE))
    rows = labels.select(["id", "label", "language"]).to_pylist()
    untold = [replace(clip, language=None) for clip in heard]
    for score in config.measured:
        assert isinstance(score, MeasuredScore)
        pairs: Iterator = zip(rows, untold, strict=True)
        made = pa.Table.from_pylist(list(score.measurer(models)(pairs)), schema(score))
        labels = join(labels, CORPUS, made)
    return labels


def faulty_labels(
    folders: Sequence[str], seed: int, limit: int | None
) -> tuple[pa.Table, list[Clip], list[str]]:
    """(label table, what was heard, the faults)."""
    sounds = read(folders, limit)
    faults = faults_of(len(sounds), seed)
    heard = spoil(sounds, faults, seed)
    teacher = load_pretrained(DEMO_BASE)
    transcriber = transcriber_of(teacher, **DECODE)
    pairs = transcriber(transcriber.place(teacher.params), heard)
    rows = [_row(clip, label) for clip, label in pairs]
    plant(rows, faults, teacher.vocabulary)
    told = [number for number, fault in enumerate(faults) if fault in TOLD]
    rescored = [rows[number] for number in told]  # the same dicts
    rescore(rescored, [heard[number] for number in told], teacher)
    return pa.Table.from_pylist(rows, SCHEMA), heard, faults


def settings(synthesis: bool) -> FilterConfig:
    scores = [
        {"name": "proxy", "weights": DEMO_TINY},
        {"name": "agreement"},
        *([{"name": "synthesis"}] * synthesis),
    ]
    match = {"score": "error_rate", "threshold": 20.0}
    filters = [{"rank": COMBINED, "match": match}]
    values = {"max_error_rate": None, "scores": scores, "filters": filters}
    return FilterConfig.model_validate(values)


def by_fault(labels: pa.Table, config: FilterConfig, faults: list[str]) -> list[dict]:
    """AUC of each score for the clips with one fault against those with none."""
    judge = Judge(with_errors(labels), config, np.ones(labels.num_rows, bool))
    kinds, rows = np.array(faults), []
    names = [(name,) for name in config.available] + [COMBINED]
    for scores in names:
        badness = judge.of(scores, len(scores) > 1)
        row: dict = {"score": ", ".join(scores)}
        for fault in FAULTS:
            chosen = ((kinds == fault) | (kinds == "")) & ~np.isnan(badness)
            found = auc(tallies(badness[chosen], kinds[chosen] == fault))
            row[fault] = None if found is None else round(found, 3)
        rows.append(row)
    return rows


def run(
    folders: Sequence[str], seed: int = 0, synthesis: bool = False, limit: int | None = None
) -> tuple[Audit, list[dict]]:
    """(the audit at 20 %, AUCs by fault)."""
    labels, heard, faults = faulty_labels(folders, seed, limit)
    config = settings(synthesis)
    labels = measured(labels, heard, config)
    return audit(labels, config, 20.0, seed), by_fault(labels, config, faults)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="clips of a folder")
    parser.add_argument("--synthesis", action="store_true", help="needs espeak-ng")
    arguments = parser.parse_args()
    found, faults = run(**vars(arguments))
    print(f"{found.labels} labels, {found.wrong} with an error rate of 20 % or more")
    for row in [*found.rows, *faults]:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
