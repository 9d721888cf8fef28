"""How a decoder should look at the sound on a CPU, at base's shapes (random weights).

    python -m tests.benchmarks.decoding [--rounds 3]

For so many tokens of a batch of clips, each token through the whole decoder and the head:
- read: `Attention.read`, which needs nothing laid out
- remember: keys and values of the encoder's output, made first (`Decoder.remember`)
- bfloat16: `read`, from weights and sound in that

Where the first two meet is where `generate` goes over from one to the other.
"""

from tests.benchmarks import figures, harness, side_by_side

CLIPS, TOKENS = (1, 16), (20, 40, 80)


def times(clips: int, tokens: int, rounds: int) -> dict[str, float]:
    """Milliseconds of each alternative; their results are compared first."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from distil_jax.models.layers import Compute
    from distil_jax.models.whisper import WhisperConfig, bind, init

    config = WhisperConfig(
        d_model=512,
        encoder_layers=1,
        decoder_layers=6,
        encoder_heads=8,
        decoder_heads=8,
        encoder_ffn=2048,
        decoder_ffn=2048,
        vocab_size=51_865,
    )
    params = jax.device_put(init(config))
    encoded = np.random.default_rng(0).normal(size=(clips, 1500, 512)).astype(np.float32)

    def decode(remember: bool, params: dict, encoded: jax.Array) -> jax.Array:
        compute = Compute(dtype="float32" if encoded.dtype == jnp.float32 else "bfloat16")
        decoder = bind(config, compute, params).decoder
        steps, cache = decoder.start(encoded, tokens)
        if remember:
            steps = decoder.remember(steps, jnp.ones(clips, bool))

        def step(number, carry):
            cache, _ = carry
            hidden, cache = decoder.extend(steps, jnp.full((clips, 1), number), cache)
            return cache, decoder.logits(hidden[:, 0])

        return jax.lax.fori_loop(0, tokens, step, (cache, jnp.zeros((clips, config.vocab_size))))[1]

    inputs = params, jax.device_put(encoded)
    halved = jax.tree.map(lambda array: array.astype(jnp.bfloat16), inputs)
    alternatives = {
        "read": (lambda *given: decode(False, *given), inputs),
        "remember": (lambda *given: decode(True, *given), inputs),
        "bfloat16": (lambda *given: decode(False, *given), halved),
    }
    read, remembered, _ = (jax.jit(each)(*given) for each, given in alternatives.values())
    np.testing.assert_allclose(read, remembered, atol=1e-4)
    return {name: 1e3 * s for name, s in side_by_side.seconds(alternatives, rounds).items()}


def main() -> None:
    parser = harness.parser(__doc__)
    parser.set_defaults(rounds=3)
    options = parser.parse_args()
    machine = figures.machine(options.cores)
    side_by_side.prepare_process(options.cores)
    rows = {
        f"{clips} clips, {tokens} tokens": times(clips, tokens, options.rounds)
        for clips in CLIPS
        for tokens in TOKENS
    }
    side_by_side.report("milliseconds", rows, machine, options.json)


if __name__ == "__main__":
    main()
