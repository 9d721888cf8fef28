"""Heads that are found: where they were planted."""

from typing import Any

import jax
import numpy as np
import pytest

from distil_jax.labelling.alignment.aligner import Aligner, Spoken
from distil_jax.labelling.alignment.heads import find_heads
from distil_jax.labelling.decoding import Decoding
from distil_jax.labelling.settings import DecodeConfig
from distil_jax.mesh import MeshConfig, make_mesh
from distil_jax.models.alignment_heads import alignment_heads, upper_half
from distil_jax.models.layers import Compute
from tests.made_up import MULTILINGUAL
from tests.made_up_student import made_up_student

HEADS = 4


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Any:
    return made_up_student(
        tmp_path_factory.mktemp("teacher"), MULTILINGUAL, decoder_attention_heads=HEADS
    )


def decoding(teacher: Any, layers: int) -> Decoding:
    mesh = MeshConfig()
    return Decoding(
        model=teacher.config.model_copy(update={"decoder_layers": layers}),
        vocabulary=teacher.vocabulary,
        generation_config=teacher.teacher_generation_config,
        config=DecodeConfig(batch_size=2),
        mesh=make_mesh(mesh, jax.devices()[:1]),
        rules=mesh.rules,
        compute=Compute(),
    )


def student_params(params: dict, layers: int, order: list[int]) -> dict:
    """The first layers, in which the heads that look at the sound stand in another order."""
    blocks = jax.tree.map(lambda a: np.asarray(a[:layers]), params["decoder"]["blocks"])

    def moved(array: np.ndarray, axis: int) -> np.ndarray:
        parts = np.split(array, HEADS, axis=axis)
        return np.concatenate([parts[head] for head in order], axis=axis)

    attention = blocks["cross_attention"]
    for name in ("query", "key", "value"):
        attention[name] = {k: moved(array, -1) for k, array in attention[name].items()}
    attention["out"] = {**attention["out"], "kernel": moved(attention["out"]["kernel"], 1)}
    return {**params, "decoder": {**params["decoder"], "blocks": blocks}}


@pytest.mark.parametrize(
    "planted", [pytest.param(((0, 2),), marks=pytest.mark.slow), ((0, 1), (1, 3))]
)
def test_heads_are_found_where_they_were_moved_to(teacher, planted):
    rng = np.random.default_rng(0)
    prompt = teacher.vocabulary.prefix("de")
    spoken = [
        Spoken(
            rng.normal(0, 0.1, int(rng.integers(20_000, 200_000))).astype(np.float32),
            prompt,
            rng.integers(0, 50_000, int(rng.integers(5, 30))).tolist(),
        )
        for _ in range(5)
    ]
    taught = decoding(teacher, teacher.config.decoder_layers)
    aligner = Aligner(taught, planted)
    known = [times.ends for times in aligner(taught.place(teacher.params), spoken)]
    student, order = decoding(teacher, 2), [3, 2, 0, 1]
    params = student.place(student_params(teacher.params, 2, order))
    found = find_heads(student, params, spoken, known)
    assert found.heads == tuple(sorted((layer, order.index(head)) for layer, head in planted))
    assert found.difference == 0
    inherited = [times.ends for times in Aligner(student, planted)(params, spoken)]
    apart = np.concatenate([np.abs(a - b) for a, b in zip(inherited, known, strict=True)])
    assert apart.mean() > 0.1, "the teacher's heads would have done as well"


def test_heads_that_do_not_fit_are_not_believed(teacher):
    """Also where some of them happen to exist."""
    student = teacher.config.model_copy(update={"decoder_layers": 2})
    generation = {"alignment_heads": [[0, 1], [2, 0]]}
    assert alignment_heads(generation, teacher.config) == ((0, 1), (2, 0))
    assert (
        alignment_heads(generation, student)
        == upper_half(2, HEADS)
        == tuple((1, head) for head in range(HEADS))
    )
    assert alignment_heads({}, student) == upper_half(2, HEADS)
