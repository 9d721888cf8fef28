"""Operations a token of the models that a table of runs is of."""

import numpy as np
import pytest

from distil_jax.ladder_config import ModelsConfig
from distil_jax.models import language_model
from distil_jax.scaling.language_models import APPLE, Shape


def test_a_ladders_models_are_counted_from_what_its_rows_say():
    """Their attention's products are whole; the paper counts the half that a token may look at."""
    ladder = ModelsConfig(aspect=32, head_width=32, context=128, vocabulary=512)
    models = [ladder.of(layers) for layers in (1, 2, 3, 4)]
    exact = np.array([language_model.flops(each, 128).forward / 128 for each in models])
    rows = {
        "N": [language_model.sizes(each)[0] for each in models],
        "context": [128] * 4,
        "vocabulary": [each.vocab_size for each in models],
        "layers": [each.layers for each in models],
        "width": [each.width for each in models],
    }
    columns = {name: np.array(column, float) for name, column in rows.items()}
    shape = Shape.of_runs(columns)
    assert shape is not None
    np.testing.assert_allclose(shape.forward_flops(columns["N"]), exact, rtol=0.12)
    assert (APPLE.forward_flops(columns["N"]) > 8 * exact).all()
    assert "context 128, vocabulary 512" in shape.told


@pytest.mark.parametrize("wrong", [np.nan, 0.0])
def test_runs_that_do_not_say_all_say_nothing(wrong):
    names = ("N", "context", "vocabulary", "layers", "width")
    columns = {name: np.full(3, 64.0) for name in names}
    assert Shape.of_runs(columns) is not None
    columns["layers"][1] = wrong
    assert Shape.of_runs(columns) is None
    assert Shape.of_runs({name: column[:0] for name, column in columns.items()}) is None
