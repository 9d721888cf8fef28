"""Our FLOPs, counted from shapes, against XLA's own count of what it compiled.

XLA counts every operation, we count matrix products: softmax, GELU, norms and residuals are what
it has more, and the less of it the wider the model is. It never has less, and at the width of
whisper-tiny it has 1 to 3 % more. It reads the body of a loop once, so here layers stand one after
the other, and clips and heads go together.
"""

import jax
import jax.numpy as jnp
import pytest

from distil_jax.models.layers import Compute
from distil_jax.models.log_mel import FRAMES
from distil_jax.models.whisper import Whisper, WhisperConfig, bind, init
from distil_jax.models.whisper_flops import decoder_flops, encoder_flops
from distil_jax.objectives import CrossEntropy, KLDivergence, Targets
from distil_jax.objectives.fused import token_sums
from distil_jax.scaling.flops import Flops, attention, linear

CONFIG = WhisperConfig(
    d_model=384,
    encoder_layers=2,
    decoder_layers=3,
    encoder_heads=6,
    decoder_heads=6,
    encoder_ffn=4 * 384,
    decoder_ffn=4 * 384,
    vocab_size=5000,
    n_mels=640,  # so many that the first convolution is seen in the sum
)
STUDENT = CONFIG.model_copy(update={"decoder_layers": 1})
TOKENS, CLIPS = 448, 2


def shape(*sizes: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, dtype)


MEL = shape(CLIPS, FRAMES, CONFIG.n_mels)
ENCODED = shape(CLIPS, CONFIG.max_source_positions, CONFIG.d_model)
IDS = shape(CLIPS, TOKENS, dtype=jnp.int32)


@pytest.fixture(autouse=True)
def no_loops(monkeypatch):
    monkeypatch.setattr("distil_jax.models.layers.on_one_cpu", lambda: True)
    monkeypatch.setattr("distil_jax.models.attention.on_one_cpu", lambda: False)
    monkeypatch.setattr("distil_jax.models.attention._QUERY_BLOCK", 1500)
    for module in ("whisper", "whisper_decoder"):
        name = f"distil_jax.models.{module}.over_clips"
        monkeypatch.setattr(name, lambda f, *arrays: f(*arrays))


def params(config: WhisperConfig = CONFIG) -> dict:
    return jax.eval_shape(lambda: init(config))


def model(params: dict, config: WhisperConfig = CONFIG) -> Whisper:
    return bind(config, Compute(), params)


def xla_flops(function, *shapes) -> float:
    analysis = jax.jit(function).lower(*shapes).compile().cost_analysis()
    assert analysis
    return analysis["flops"]


def assert_near_xla(ours: float, function, *shapes) -> None:
    assert ours <= xla_flops(function, *shapes) <= 1.035 * ours


def encode(params: dict, mel: jax.Array) -> jax.Array:
    return model(params).encoder(mel)


def logits(params: dict, ids: jax.Array, encoded: jax.Array) -> jax.Array:
    decoder = model(params).decoder
    return decoder.logits(decoder(ids, encoded))


def variance(function):
    """A scalar whose gradient is no constant that XLA could compute beforehand."""
    return lambda *arguments: function(*arguments).var()


def test_encoder_forward():
    assert_near_xla(CLIPS * encoder_flops(CONFIG).forward, encode, params(), MEL)


def test_encoder_forward_and_backward():
    """Its input is data, so the first convolution has no gradient for it: XLA agrees."""
    ours = encoder_flops(CONFIG)
    gradient = jax.grad(variance(encode))
    assert_near_xla(CLIPS * (ours.forward + ours.backward), gradient, params(), MEL)


def test_teacher_decoder_forward():
    ours = decoder_flops(CONFIG, TOKENS).forward
    assert_near_xla(CLIPS * ours, logits, params(), IDS, ENCODED)


@pytest.mark.parametrize("frozen", [True, False])
def test_decoder_forward_and_backward(frozen):
    """A frozen encoder wants no gradient, which saves that of keys and values to their input."""
    ours = decoder_flops(CONFIG, TOKENS, encoder_is_frozen=frozen)
    gradient = jax.grad(variance(logits), argnums=0 if frozen else (0, 2))
    assert_near_xla(CLIPS * (ours.forward + ours.backward), gradient, params(), IDS, ENCODED)


def test_teacher_and_student_through_the_fused_loss():
    """The head's gradient is taken within the forward pass, and costs what it costs after it.

    One chunk holds all positions: the loop over chunks has one turn for XLA to read.
    """
    teacher, student = decoder_flops(CONFIG, TOKENS), decoder_flops(STUDENT, TOKENS)

    def loss(own: dict, taught: dict, ids, encoded) -> jax.Array:
        student = model(own, STUDENT).signals(ids, encoded)
        teacher = model(taught).signals(ids, encoded)
        targets = Targets(ids, jnp.ones(ids.shape, bool))
        recipe = CrossEntropy(), KLDivergence()
        return token_sums(recipe, {"one": student}, teacher, targets, TOKENS)["one"][0]

    ours = teacher.forward + student.forward + student.backward
    assert_near_xla(CLIPS * ours, jax.grad(loss), params(STUDENT), params(), IDS, ENCODED)


def test_a_loop_over_layers_hides_them_from_xla(monkeypatch):
    """Why the logs hold our count and not XLA's."""
    monkeypatch.setattr("distil_jax.models.layers.on_one_cpu", lambda: False)
    deep = CONFIG.model_copy(update={"encoder_layers": 12})
    counted = xla_flops(lambda p, mel: model(p, deep).encoder(mel), params(deep), MEL)
    assert counted < 0.3 * CLIPS * encoder_flops(deep).forward


def test_sums_and_multiples():
    once = linear(10, 3, 4) + attention(2, 5, 8)
    assert once == Flops(240 + 320, 240 + 640, 240)
    assert once.backward == 1120
    assert once * 3 == once + once + once
    assert linear(10, 3, 4, inputs_are_constant=True) == Flops(240, 0, 240)
