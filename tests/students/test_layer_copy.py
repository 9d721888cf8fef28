"""Students of some of their teacher's layers: which ones, and what else is copied."""

import jax
import numpy as np
import pytest

from distil_jax.errors import ConfigError
from distil_jax.models.whisper import WhisperConfig, init
from distil_jax.students.layer_copy import (
    StudentConfig,
    check_frozen_layers,
    copy_layers,
    spaced_layers,
    student_shape,
)
from tests.made_up import MULTILINGUAL


@pytest.mark.parametrize(
    "teacher,kept,wanted",
    [
        (32, 1, [31]),
        (32, 2, [0, 31]),
        (32, 4, [0, 10, 20, 31]),
        (32, 8, [0, 4, 8, 13, 17, 22, 26, 31]),
        (24, 2, [0, 23]),
        (12, 4, [0, 3, 7, 11]),
        (6, 3, [0, 2, 5]),
        (4, 4, [0, 1, 2, 3]),
        (4, 3, [0, 1, 3]),
        (2, 1, [1]),
        (1, 1, [0]),
    ],
)
def test_layers_of_distil_whisper(teacher, kept, wanted):
    """Its scripts cut linspace(0, n - 1, m) down to integers and put the last layer last."""
    assert spaced_layers(teacher, kept) == wanted


@pytest.mark.parametrize("teacher", range(1, 33))
def test_layers_are_maximally_spaced(teacher):
    for kept in range(1, teacher + 1):
        layers = spaced_layers(teacher, kept)
        assert len(layers) == kept
        assert layers[-1] == teacher - 1
        if kept > 1:
            gaps = np.diff(layers)
            assert layers[0] == 0
            assert gaps.min() == (teacher - 1) // (kept - 1), "closer together than need be"
            assert gaps.max() - gaps.min() <= 1


def teacher(layers: int = 6) -> tuple[WhisperConfig, dict]:
    """Every number of every layer is another one."""
    sides = {"encoder_layers": layers, "decoder_layers": layers, "vocab_size": 50}
    config = WhisperConfig.from_hf({**MULTILINGUAL.hf_config, **sides})
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: init(config))
    return config, jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float32), shapes)


@pytest.mark.parametrize(
    "config,encoder,decoder",
    [
        (StudentConfig(), [0, 1, 2, 3, 4, 5], [0, 5]),
        (StudentConfig(decoder_layers=1), [0, 1, 2, 3, 4, 5], [5]),
        (StudentConfig(encoder_layers=3, decoder_layers=4), [0, 2, 5], [0, 1, 3, 5]),
        (StudentConfig(encoder_layers=1, decoder_layers=None), [5], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_blocks_are_those_of_the_chosen_layers_and_the_rest_is_as_it_was(config, encoder, decoder):
    shape, params = teacher()
    smaller = student_shape(shape, config)
    student = copy_layers(params, shape, smaller)
    for side, layers in (("encoder", encoder), ("decoder", decoder)):
        assert getattr(smaller, f"{side}_layers") == len(layers)
        wanted = {
            **params[side],
            "blocks": jax.tree.map(lambda a, kept=layers: a[kept], params[side]["blocks"]),
        }
        jax.tree.map(np.testing.assert_array_equal, student[side], wanted)


def test_a_student_has_the_parameters_of_its_shape():
    shape, params = teacher()
    smaller = student_shape(shape, StudentConfig(encoder_layers=2))
    wanted = jax.eval_shape(lambda: init(smaller))
    assert smaller.d_model == shape.d_model
    student = copy_layers(params, shape, smaller)
    assert jax.tree.map(np.shape, student) == jax.tree.map(np.shape, wanted)


@pytest.mark.parametrize("side", ["encoder_layers", "decoder_layers"])
def test_more_layers_than_the_teacher_has_are_refused(side):
    with pytest.raises(ConfigError, match=r"got 7.*has 6.*1 to 6") as error:
        student_shape(teacher()[0], StudentConfig.model_validate({side: 7}))
    assert error.value.key == side


@pytest.mark.parametrize("part", ["encoder", "encoder.blocks"])
def test_a_side_that_lost_layers_may_not_be_frozen(part):
    shape, _ = teacher()
    smaller = student_shape(shape, StudentConfig(encoder_layers=2))
    with pytest.raises(ConfigError, match=r"got 2 of the teacher's 6") as error:
        check_frozen_layers(shape, smaller, [part])
    assert error.value.key == "encoder_layers"
    check_frozen_layers(shape, smaller, ["encoder.conv1"])
    check_frozen_layers(shape, student_shape(shape, StudentConfig()), [part])


@pytest.mark.parametrize("layers", [0, -1, 1.5])
def test_a_number_of_layers_is_a_whole_one(layers):
    with pytest.raises(ValueError, match="decoder_layers"):
        StudentConfig(decoder_layers=layers)
