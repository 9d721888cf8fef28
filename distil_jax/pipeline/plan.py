"""What a run needs before anything is rented: its real steps, compiled for devices elsewhere."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp

from distil_jax.config import RunConfig
from distil_jax.data.batch import SpeechBatch
from distil_jax.mesh import compiling_for, split_batch
from distil_jax.models.architecture import architecture_of, decoding_flops
from distil_jax.models.log_mel import CLIP_SAMPLES
from distil_jax.models.placing import placements
from distil_jax.pipeline.compiled import Compiled, Step, bytes_on_a_device
from distil_jax.pipeline.planned import PlannedSession
from distil_jax.pipeline.signals import stored_shapes
from distil_jax.pipeline.train import make_algorithm
from distil_jax.run import ONLY_STUDENT
from distil_jax.scaling.roofline import Work
from distil_jax.topology import Target, local_target, tpu_target

_GIB = 2**30
_MOST_COLLECTIVES = 5


def plan(config: RunConfig, topology: str | None, table: bool = False) -> dict[str, Any]:
    """Where every parameter lies (`table`), or memory, time and cost of a run on `topology`."""
    target = tpu_target(topology) if topology else local_target()
    with compiling_for(target.platform):
        session = PlannedSession(config, target)
        session.check_training()
        if table:
            return {"parameters": list(_parameters(session))}
        return {
            "target": target.name,
            "chips": target.chips,
            "train": _plan_training(session),
            "label": _plan_labelling(session),
        }


def _parameters(session: PlannedSession) -> Iterator[dict[str, Any]]:
    """A row for each parameter on the devices, teacher's and students'.

    A parameter's name begins with its student's where there are several.
    """
    algorithm = make_algorithm(session)
    parts = {**algorithm.abstract_constants(), "trained": algorithm.abstract_state().params}
    for part, shapes in parts.items():
        for row in placements(shapes.get(ONLY_STUDENT, shapes)):
            yield {"part": part, **row}


def _plan_training(session: PlannedSession) -> dict[str, Any]:
    algorithm, train, target = make_algorithm(session), session.config.train, session.target
    shards = train.accumulation * session.batch_shards
    tokens = min(max(train.target_lengths), session.teacher.config.max_target_positions)
    step = Step(
        name="training step",
        target=target,
        mesh=session.mesh.shape,
        fixed=bytes_on_a_device(algorithm.abstract_state(), algorithm.abstract_constants()),
        lower=lambda clips: algorithm.lower(_batch(session, clips * shards, tokens)),
    )
    found = step.compile(train.batch_size // shards, quick=True)
    largest = step.largest(found)

    def of(compiled: Compiled) -> dict[str, Any]:
        clips = compiled.clips * shards
        flops = sum(algorithm.flops(_batch(session, clips, tokens)).values())
        # What stays is read once at least, temporaries are written and read.
        moved = compiled.memory.used + (compiled.memory.temporaries or 0)
        return _described(compiled, flops, moved, target, clips)

    plan = {"target_tokens": tokens, **of(found)}
    if "step_seconds" in plan:
        plan |= _bill(session, train.steps * plan["step_seconds"])
    if not found.memory.fits:
        plan["change"] = _advice(session, largest)
    return {**plan, "largest": of(largest) if largest else None}


def _plan_labelling(session: PlannedSession) -> dict[str, Any]:
    label, target, teacher = session.config.label, session.target, session.teacher
    transcriber = session.teacher_transcriber(label)
    tokens = label.max_new_tokens
    hosts = len(target.devices) // transcriber.mesh.size  # each labels its own clips
    clips = hosts * transcriber.batch_size
    shapes = transcriber.shapes(teacher.params)
    step = Step(
        name="labelling step",
        target=target,
        mesh=transcriber.mesh.shape,
        fixed=bytes_on_a_device(shapes),
        lower=lambda _: transcriber.lower(shapes),
    )
    found = step.compile(transcriber.batch_size // transcriber.batch_shards, quick=True)
    # Greedy decoding reads the decoder's weights for every token, and in every layer what the
    # encoder made of each clip.
    encoded = found.clips * _encoded_bytes(session) * teacher.config.decoder_layers
    moved = tokens * (bytes_on_a_device(shapes["decoder"]) + encoded)
    flops = sum(decoding_flops(teacher.config, clips, clips * tokens))
    plan = {"new_tokens": tokens, "hosts": hosts, **_described(found, flops, moved, target, clips)}
    if not found.memory.fits:
        plan["change"] = "a smaller label.batch_size"
    return plan


def _encoded_bytes(session: PlannedSession) -> int:
    """Of what the teacher's encoder makes of one clip."""
    config = session.teacher.config
    compute = session.teacher_transcriber(session.config.label).compute

    def encode(params: dict, samples: jax.Array) -> jax.Array:
        return architecture_of(config).bind(config, compute, params).encode(samples)

    samples = jax.ShapeDtypeStruct((1, CLIP_SAMPLES), jnp.float32)
    encoded = jax.eval_shape(encode, session.teacher.params, samples)
    return encoded.size * encoded.dtype.itemsize


def _batch(session: PlannedSession, clips: int, tokens: int) -> SpeechBatch:
    """The shapes of a training batch."""
    where = split_batch(session.mesh, session.config.mesh.rules)

    def array(dtype: Any, *sides: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((clips, *sides), dtype, sharding=where)

    teacher, encoded = jax.tree.map(
        lambda a: array(a.dtype, *a.shape[1:]), stored_shapes(session, clips, tokens)
    )
    return SpeechBatch(
        samples=array(jnp.float32, CLIP_SAMPLES) if encoded is None else None,
        seconds=array(jnp.float32),
        inputs=array(jnp.int32, tokens),
        labels=array(jnp.int32, tokens),
        mask=array(jnp.bool_, tokens),
        teacher=teacher,
        encoded=encoded,
    )


def _described(
    found: Compiled, flops: float, moved: float, target: Target, clips: int
) -> dict[str, Any]:
    """Memory, work and roofline of a step.

    flops: of all chips. moved: bytes through the memory of one device. clips: on all devices.
    """
    memory = found.memory
    return {
        "clips": clips,
        "clips_per_device": found.clips,
        "fits": memory.fits,
        "memory_gib": {
            "used": memory.used / _GIB,
            "arguments": _gib(memory.arguments),
            "temporaries": _gib(memory.temporaries),
            "available": _gib(memory.available),
            "too_much": 0.0 if memory.fits else _gib(memory.used - (memory.available or 0)),
        },
        "tflop_per_chip": flops / target.chips / 1e12,
        **_roofline(found, flops, moved, target, clips),
        "collectives": [
            {**asdict(each), "sent": each.sent} for each in found.collectives[:_MOST_COLLECTIVES]
        ],
    }


def _gib(count: int | None) -> float | None:
    return None if count is None else count / _GIB


def _roofline(
    found: Compiled, flops: float, moved: float, target: Target, clips: int
) -> dict[str, Any]:
    """Nothing where the step does not fit or the chip's peaks are not known."""
    if target.chip is None or not found.memory.fits:
        return {}
    devices = len(target.devices) / target.chips  # on a chip
    sent = sum(each.sent for each in found.collectives)
    work = Work(flops / target.chips, moved * devices, sent * devices)
    parts = work.seconds(target.chip)
    seconds = max(parts.values())
    return {
        "moved_gib_per_chip": work.moved / _GIB,
        "sent_gib_per_chip": work.sent / _GIB,
        "roofline_seconds": parts,
        "step_seconds": seconds,
        "steps_per_second": 1 / seconds,
        "clips_per_second": clips / seconds,
    }


def _bill(session: PlannedSession, seconds: float) -> dict[str, float]:
    """Of that many seconds on all chips, at the roofline: real runs take two to three times it."""
    hours = seconds / 3600
    price = session.config.plan.price_per_chip_hour
    bill = {"hours": hours, "chip_hours": hours * session.target.chips}
    return bill if price is None else {**bill, "cost": bill["chip_hours"] * price}


def _advice(session: PlannedSession, largest: Compiled | None) -> str:
    """What to change where a training step does not fit."""
    train, mesh = session.config.train, session.config.mesh
    if largest:
        parts = math.ceil(train.batch_size / (largest.clips * session.batch_shards))
        return f"train.accumulation={parts}, or train.batch_size up to what `largest` says"
    ways = []
    if train.remat != "full":
        ways.append("train.remat=full")
    if not mesh.rules.embed:
        ways.append("mesh.strategy=fsdp with devices along fsdp in mesh.shape")
    return " or ".join([*ways, "more or larger chips"])
