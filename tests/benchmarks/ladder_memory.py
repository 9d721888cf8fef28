"""What the groups of a ladder need of a device's memory, as the compiler of a TPU says.

    python -m tests.benchmarks.ladder_memory CONFIG.yaml [KEY=VALUE ...] [--topology v5p:2x2x1]

Of each size of models, with teachers and without, the largest group of runs is compiled, in
bfloat16, with the config's whole batch on every chip. Needs libtpu, which only compiles: no TPU.
"""

import argparse
from math import prod

from tests.benchmarks.ladder_groups import largest, read, untrained


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="of a ladder")
    parser.add_argument("overrides", nargs="*", help="as of `distil-jax ladder`")
    parser.add_argument("--topology", default="v5p:2x2x1", help="chips that share the work")
    parser.add_argument("--sizes", type=int, nargs="+", help="layers of the models; all without it")
    options = parser.parse_args()

    from distil_jax.topology import tpu_target

    target = tpu_target(options.topology)  # before jax is used for anything else
    import jax
    import jax.numpy as jnp

    from distil_jax.mesh import compiling_for, make_mesh, split_batch
    from distil_jax.scaling.memory import memory_of, shortage_of

    config = read((options.config, [*options.overrides, "train.dtype=bfloat16"]))
    mesh = make_mesh(config.mesh, target.devices)
    size = config.train.batch_size * prod(mesh.shape.values())
    sharding = split_batch(mesh, config.mesh.rules)
    batch = jax.ShapeDtypeStruct((size, config.models.context + 1), jnp.int32, sharding=sharding)
    for name, group in largest(config).items():
        if options.sizes and group[0].layers not in options.sizes:
            continue
        algorithm = untrained(config, mesh).algorithm(group)
        with compiling_for("tpu"):
            lowered = algorithm.lower(batch)
            try:
                found = memory_of(lowered.compile(), target.memory)
            except jax.errors.JaxRuntimeError as error:
                found = shortage_of(str(error), 0)
                if found is None:
                    raise
        print(f"{name}, {len(group)} side by side: {found.used / 1e9:.1f} GB", flush=True)


if __name__ == "__main__":
    main()
