"""Matrix products on a CPU in the number formats that models/products.py chooses among.

    python -m tests.benchmarks.products [--rounds 10]

x [rows, d] @ kernel [d, f] at tiny.en's shapes, in GFLOP/s:
- f32: float32 into float32
- bf16 -> f32: bfloat16 with preferred_element_type=float32, as `project` asks for
- bf16 -> bf16: bfloat16 into bfloat16, as it would be without
- cast, bf16 -> f32: the second from float32 operands, the rounding timed with it
- bf16 -> f32, cast: the second, its result rounded to bfloat16
"""

from tests.benchmarks import figures, harness, side_by_side

SHAPES = {  # rows, d, f
    "encoder, up, 1 clip": (1500, 384, 1536),
    "encoder, up, 8 clips": (12_000, 384, 1536),
    "encoder, down, 1 clip": (1500, 1536, 384),
    "decoder, up, 16 x 64 tokens": (1024, 384, 1536),
    "head, 16 x 16 tokens": (256, 384, 51_864),
    "decoding, up, 16 tokens": (16, 384, 1536),
    "decoding, head, 16 tokens": (16, 384, 51_864),
}


def rates(rows: int, width: int, out: int, rounds: int) -> dict[str, float]:
    """GFLOP/s of each alternative."""
    import jax.numpy as jnp
    import numpy as np

    rng = np.random.default_rng(0)
    full = tuple(
        jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((rows, width), (width, out))
    )
    half = tuple(each.astype(jnp.bfloat16) for each in full)

    def into_float(x, kernel):
        return jnp.matmul(x, kernel, preferred_element_type=jnp.float32)

    def cast_first(x, kernel):
        return into_float(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))

    def cast_last(x, kernel):
        return into_float(x, kernel).astype(jnp.bfloat16)

    alternatives = {
        "f32": (jnp.matmul, full),
        "bf16 -> f32": (into_float, half),
        "bf16 -> bf16": (jnp.matmul, half),
        "cast, bf16 -> f32": (cast_first, full),
        "bf16 -> f32, cast": (cast_last, half),
    }
    times = side_by_side.seconds(alternatives, rounds)
    return {name: 2e-9 * rows * width * out / seconds for name, seconds in times.items()}


def main() -> None:
    parser = harness.parser(__doc__)
    parser.set_defaults(rounds=10)
    options = parser.parse_args()
    machine = figures.machine(options.cores)
    side_by_side.prepare_process(options.cores)
    rows = {name: rates(*shape, options.rounds) for name, shape in SHAPES.items()}
    side_by_side.report("GFLOP/s", rows, machine, options.json)


if __name__ == "__main__":
    main()
