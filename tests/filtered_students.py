"""Students of labels with planted faults: no filter, one that needs transcripts, one that does not.

    python -m tests.filtered_students --speech ../shared/data/speech [--steps 300] [--seeds 0 1 2]

Whisper tiny.en labels English recordings (en_ljspeech, en_asterisk), half of which get a fault, a
tenth each: white noise 10 dB louder than the speech; a German recording in its place (de_kerstin);
and in the label, another clip's text, the first half alone, the text twice over. Then a student of
2 of its 4 decoder layers is trained for each filter, from the same signals cache, and heard on
clips without faults that nobody trained on:

- none: all labels
- error rate: labels under 20 % WER against the transcripts (Distil-Whisper's filter)
- label-free: as many, by the rank of confidence, speech rate and whisper base's text (uDistil)
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from distil_jax import pipeline
from distil_jax.config import load_config
from distil_jax.data.audio import SAMPLE_RATE
from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Clip, SpeechConfig, clips, open_corpus
from distil_jax.labelling.store import LabelStore
from distil_jax.models.pretrained import load_pretrained
from distil_jax.run import fingerprint, write_text
from tests.made_up import DEMO_BASE, DEMO_TINY
from tests.planted_faults import COMBINED, TOLD, faults_of, plant, rescore

ENGLISH, GERMAN, CORPUS = ("en_ljspeech", "en_asterisk"), "de_kerstin", "faulty"
TRAINED_ON = 0.75  # of the English recordings
MATCH = {"score": "error_rate", "threshold": 20.0}
FILTERS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "error rate": [MATCH],
    "label-free": [{"rank": list(COMBINED), "match": MATCH}],
}
CONFIG = """
name: filtered
teacher: {weights: %(teacher)s}
data:
  train: {faulty: {path: %(folder)s, language: en}}
  evaluation: {%(held_out)s}
label: {max_new_tokens: 128}
filter: {max_error_rate: null, scores: [{name: proxy, weights: %(second)s}]}
student: {decoder_layers: 2}
objectives:
  - {name: cross_entropy, weight: 0.8}
  - {name: kl, weight: 1.0, temperature: 2.0}
signals: {encoder_states: true}
train:
  steps: %(steps)d
  batch_size: 8
  optimizer: {learning_rate: 1.0e-4, warmup_steps: 20}
  loss_chunk: 128
  validation_clips: 0
  validate_every: %(steps)d
  save_every: %(steps)d
evaluate: {max_new_tokens: 128}
"""


def read(folder: Path, low: float, high: float) -> list[Clip]:
    source = SpeechConfig(path=str(folder), share=(low, high))
    return list(clips(folder.name, open_corpus(folder.name, source), Quarantine(None)))


def write_recordings(speech: Path, folder: Path, seed: int) -> list[str]:
    """The training data with what is wrong in their sound; -> the fault of each clip, or ""."""
    sounds = [clip for name in ENGLISH for clip in read(speech / name, 0.0, TRAINED_ON)]
    german = iter(read(speech / GERMAN, 0.0, 1.0))
    faults, rng, rows = faults_of(len(sounds), seed), np.random.default_rng(seed), []
    folder.mkdir()
    for number, (clip, fault) in enumerate(zip(sounds, faults, strict=True)):
        spoken = next(german) if fault == "language" else clip
        samples = spoken.samples
        if fault == "noise":
            samples = samples + rng.normal(0, np.sqrt(10 * np.mean(samples**2)), len(samples))
        name = f"{number:04d}.wav"
        soundfile.write(folder / name, samples, SAMPLE_RATE, subtype="FLOAT")
        rows.append({"audio": name, "text": clip.text})
    write_text(folder / "manifest.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return faults


def spoil_labels(run: Path, folder: Path, faults: list[str]) -> None:
    """Plant the faults that are in labels, and their scores as if decoding had said them."""
    store, model = LabelStore(run / "labels" / CORPUS), load_pretrained(DEMO_TINY)
    rows = store.read().to_pylist()
    plant(rows, faults, model.vocabulary)
    told = [number for number, fault in enumerate(faults) if fault in TOLD]
    heard = read(folder, 0.0, 1.0)
    rescore([rows[number] for number in told], [heard[number] for number in told], model)
    source = SpeechConfig(path=str(folder), language="en")
    store.write(0, fingerprint([each.content for each in open_corpus(CORPUS, source)]), rows)


def one_seed(speech: Path, work: Path, steps: int, seed: int) -> dict[str, dict[str, Any]]:
    """By filter: clips, of which faulty, and error rates of the student."""
    folder = work / "recordings"
    faults = write_recordings(speech, folder, seed)
    held_out = ", ".join(
        f"{name}: {{path: {speech / name}, language: en, share: [{TRAINED_ON}, 1.0]}}"
        for name in ENGLISH
    )
    config = work / "config.yaml"
    names = {"teacher": DEMO_TINY, "second": json.dumps(DEMO_BASE), "steps": steps}
    write_text(config, CONFIG % {**names, "folder": folder, "held_out": held_out})
    everything = work / "none"
    common = [f"seed={seed}", f"signals.path={everything}"]
    pipeline.label(load_config(config, [f"run_dir={everything}"]))
    spoil_labels(everything, folder, faults)
    found = {}
    for name, filters in FILTERS.items():
        run = work / name.replace(" ", "_")
        if run != everything:
            shutil.copytree(everything / "labels", run / "labels")
        changes = [*common, f"run_dir={run}", f"filter.filters={json.dumps(filters)}"]
        loaded = load_config(config, changes)
        kept = pipeline.filter_labels(loaded)
        if run == everything:
            own = [change for change in changes if not change.startswith("signals.path")]
            pipeline.cache(load_config(config, own))
        pipeline.train(loaded)
        sets = pipeline.evaluate(loaded)["sets"]
        found[name] = {"filter": kept, "sets": sets}
        print(json.dumps({"seed": seed, "filter": name, **found[name]}), flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args(arguments)
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as work:
            one_seed(given.speech.resolve(), Path(work), given.steps, seed)


if __name__ == "__main__":
    main()
