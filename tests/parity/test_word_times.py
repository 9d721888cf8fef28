"""Words of real recordings: those of transformers' pipeline, at its times; and a student's.

The pipeline is held to what we do: greedy, and one clip at a time, because it aligns a clip
together with the padding that its batch puts behind it. It is not told to hear each window only
once (as in test_chunked.py): then it counts the prompt among the tokens, but not among their times,
and every word gets the times of a later one. Clips that end with a timestamp are heard once anyhow.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from distil_jax.data.audio import SAMPLE_RATE, read_audio
from distil_jax.data.quarantine import Quarantine
from distil_jax.labelling.alignment.aligner import Aligner, Spoken
from distil_jax.labelling.alignment.heads import find_heads
from distil_jax.labelling.alignment.words import Word
from distil_jax.labelling.decoding import Decoding
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.longform.settings import LongFormConfig
from distil_jax.longform.transcribe import transcribe
from distil_jax.longform.transcript import Recording
from distil_jax.models.alignment_heads import alignment_heads
from distil_jax.models.architecture import ModelConfig
from tests.decodings import decoding_of
from tests.real_models import compiled_well, model
from tests.transcribed import recordings

pytest.importorskip("torch")
pytest.importorskip("transformers")

BATCH, NEW_TOKENS = 3, 200
CLIPS = 5

well = pytest.fixture(scope="module", autouse=True)(compiled_well)


def decoding(name: str, shape: ModelConfig | None = None, kind: Any = Transcriber) -> Any:
    how = {"batch_size": BATCH, "max_new_tokens": NEW_TOKENS, "timestamps": True, "language": "en"}
    return decoding_of(model(name), kind, shape=shape, **how)


def files(repository: Path) -> list[Path]:
    return sorted((repository / "distil_jax/quickstart/test").glob("*.opus"))[:CLIPS]


def ours_of(name: str, paths: list[Path], way: Any = "chunked") -> list[list[Word]]:
    transcriber, ours, quarantine = decoding(name), model(name), Quarantine(None)
    aligner = Aligner(transcriber, alignment_heads(ours.generation_config, ours.config))
    heard = [Recording("a", path.name, path) for path in paths]
    params = transcriber.place(ours.params)
    config = LongFormConfig(algorithm=way)
    found = transcribe(config, transcriber, params, heard, quarantine, aligner=aligner)
    return [[word for s in each.segments for word in s.words or []] for each in found]


def theirs_of(pipeline: Any, path: Path, multilingual: bool) -> list[dict]:
    told = {"language": "en", "task": "transcribe"} if multilingual else {}
    return pipeline(
        {"raw": read_audio(path), "sampling_rate": SAMPLE_RATE},
        chunk_length_s=30,
        ignore_warning=True,
        batch_size=1,
        return_timestamps="word",
        generate_kwargs={"max_new_tokens": NEW_TOKENS, "num_beams": 1, **told},
    )["chunks"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("tiny.en", marks=pytest.mark.slow),
        pytest.param("base", marks=pytest.mark.very_slow),
    ],
)
def test_words_and_times(name, pipelines, repository):
    paths, differences = files(repository), []
    multilingual = model(name).vocabulary.is_multilingual
    for path, ours in zip(paths, ours_of(name, paths), strict=True):
        theirs = theirs_of(pipelines(name), path, multilingual)
        assert [word.text for word in ours] == [word["text"] for word in theirs]
        times = [word["timestamp"] for word in theirs]
        differences += [
            abs(a - b)
            for w, t in zip(ours, times, strict=True)
            for a, b in zip((w.start, w.end), t, strict=True)
        ]
        assert all(0 < word.probability <= 1 for word in ours)
    print(
        f"\n{name}: {len(differences) // 2} words; difference to transformers: median "
        f"{np.median(differences):.3f} s, mean {np.mean(differences):.4f} s, most "
        f"{max(differences):.2f} s"
    )
    assert len(differences) > 60
    assert np.median(differences) <= 0.02


@pytest.mark.very_slow
def test_words_of_the_sequential_algorithm():
    """Of clips of one window, where both ways hear the same."""
    paths = files(Path(__file__).parents[2])
    chunked, sequential = (ours_of("tiny.en", paths, way) for way in ("chunked", "sequential"))
    pairs = [
        pair for both in zip(chunked, sequential, strict=True) for pair in zip(*both, strict=True)
    ]
    differences = [abs(x - y) for a, b in pairs for x, y in ((a.start, b.start), (a.end, b.end))]
    print(f"\n{len(pairs)} words; difference: most {max(differences):.2f} s")
    assert [a.text for a, _ in pairs] == [b.text for _, b in pairs]
    assert len(differences) > 60
    assert np.median(differences) <= 0.02


@pytest.mark.very_slow
@pytest.mark.parametrize("kept", [[0, 1, 2, 3], [0, 5]])
def test_heads_of_a_student_of_copied_layers(kept):
    """Of base, whose heads stand in its layers 3 to 5: without training, as students are born."""
    teacher, clips = model("base"), recordings(CLIPS)
    transcriber = decoding("base")
    params = transcriber.place(teacher.params)
    labels = [label for _, label in transcriber(params, clips)]
    spoken = [
        Spoken(clip.samples, transcriber.prompt("en"), label.tokens)
        for clip, label in zip(clips, labels, strict=True)
    ]
    named = alignment_heads(teacher.generation_config, teacher.config)
    known = [times.ends for times in Aligner(transcriber, named)(params, spoken)]
    shape = teacher.config.model_copy(update={"decoder_layers": len(kept)})
    blocks = jax.tree.map(lambda a: a[np.array(kept)], teacher.params["decoder"]["blocks"])
    newborn = {**teacher.params, "decoder": {**teacher.params["decoder"], "blocks": blocks}}
    student = decoding("base", shape, Decoding)
    placed = student.place(newborn)
    found = find_heads(student, placed, spoken, known)
    unfit = alignment_heads(teacher.generation_config, shape)
    default = [times.ends for times in Aligner(student, unfit)(placed, spoken)]
    apart = np.concatenate([np.abs(a - b)[:-1] for a, b in zip(default, known, strict=True)])
    print(
        f"\nlayers {kept} of base: heads {found.heads}, median difference to the teacher "
        f"{found.difference:.2f} s; of all heads of the upper half {np.median(apart):.2f} s"
    )
    assert found.difference <= 0.1
    assert found.difference <= np.median(apart)
