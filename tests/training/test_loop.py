"""The loop: what is logged and kept, and that stopping it anywhere changes nothing."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from distil_jax.algorithms.sequence_distillation import SequenceDistillation
from distil_jax.errors import UserError
from distil_jax.mesh import MeshConfig, split_batch
from distil_jax.run import ONLY_STUDENT, RunFolder, read_jsonl
from distil_jax.training.checkpoint import Checkpoints
from distil_jax.training.loop import Training
from distil_jax.training.state import TrainState
from distil_jax.training.telemetry import MetricsLog
from tests.made_up_training import ONE_DEVICE, TRAIN, TWO_LAYERS, batch, distillation

STEPS = 8
CONFIG = TRAIN.model_copy(
    update={"steps": STEPS, "log_every": 1, "save_every": 2, "validate_every": 4}
)


class Batches:
    """Batch number i is made of seed i. Those of `spoilt` have samples that are no numbers; at
    `dies_at` the process is gone."""

    def __init__(self, spoilt: Collection[int] = (), dies_at: int = -1):
        self.next, self.spoilt, self.dies_at = 0, spoilt, dies_at

    def __next__(self) -> Any:
        if self.next == self.dies_at:
            raise KeyboardInterrupt
        made = batch(self.next)
        if self.next in self.spoilt:
            made.samples[0] = np.nan
        self.next += 1
        return made

    def get_state(self) -> dict:
        return {"next": self.next}

    def set_state(self, state: dict) -> None:
        self.next = state["next"]


def run(
    folder: Path,
    batches: Batches,
    mesh: MeshConfig = ONE_DEVICE,
    settings=CONFIG,
    kind: type[SequenceDistillation] = SequenceDistillation,
    students: dict[str, int] = TWO_LAYERS,
) -> TrainState:
    algorithm = kind(**vars(distillation(settings, mesh, students=students)))
    sharding = split_batch(algorithm.mesh, algorithm.rules)
    with Checkpoints(folder / "checkpoints", "made up", 2, 1, list(students)) as checkpoints:
        return Training(
            algorithm=algorithm,
            batches=batches,
            config=settings,
            checkpoints=checkpoints,
            metrics={n: MetricsLog(RunFolder(folder).of_student(n).metrics) for n in students},
            compute_path=folder / "compute.jsonl",
            place=lambda b: jax.device_put(b, sharding),
            count=lambda b: {"clips": len(b.samples), "target_tokens": int(b.mask.sum())},
            validate=lambda state: {n: 40.0 - k * int(state.step) for n, k in students.items()},
        ).run()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[TrainState, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return jax.device_get(run(folder, Batches())), folder


def test_every_step_is_logged_and_counted_once(whole):
    _, folder = whole
    metrics = read_jsonl(folder / "metrics.jsonl")
    assert [row["step"] for row in metrics if row["kind"] == "train"] == [*range(1, STEPS + 1)]
    assert [row["step"] for row in metrics if row["kind"] == "validation"] == [4, 8]
    compute = read_jsonl(folder / "compute.jsonl")
    assert sum(row.get("clips", 0) for row in compute) == STEPS * 8
    assert sum(row.get("target_tokens", 0) for row in compute) == sum(
        batch(i).mask.sum() for i in range(STEPS)
    )
    per_step = distillation(CONFIG).flops(batch())
    for part, flops in per_step.items():
        assert sum(row["flops"].get(part, 0) for row in compute) == pytest.approx(STEPS * flops)


@pytest.mark.parametrize(
    "dies_at",
    [pytest.param(1, marks=pytest.mark.slow), 4, pytest.param(7, marks=pytest.mark.slow)],
)
def test_a_run_that_was_cut_off_ends_in_the_same_bits(whole, tmp_path, dies_at):
    """At whichever step: before the first checkpoint, right after one, before the last."""
    expected, folder = whole
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Batches(dies_at=dies_at))
    state = jax.device_get(run(tmp_path, Batches()))
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    first, again = (path / "metrics.jsonl" for path in (folder, tmp_path))
    assert again.read_bytes() == first.read_bytes()


@pytest.mark.slow
def test_it_goes_on_sharded(tmp_path):
    mesh = MeshConfig(strategy="fsdp", shape=(2, 4, 1))
    expected = jax.device_get(run(tmp_path / "whole", Batches(), mesh))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Batches(dies_at=5), mesh)
    state = jax.device_get(run(tmp_path / "cut", Batches(), mesh))
    jax.tree.map(np.testing.assert_array_equal, state, expected)


def test_an_unsound_gradient_ends_the_run_with_a_sound_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"stopped at step 6: loss nan(.|\n)*learning_rate"):
        run(tmp_path, Batches(spoilt=[5]))
    with Checkpoints(tmp_path / "checkpoints", "made up", 2, 1) as checkpoints:
        assert checkpoints.latest == 5
        restored = checkpoints.restore(distillation(CONFIG).abstract_state())
    assert restored is not None
    assert int(restored.state.step) == 5
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(restored.state.params))


@pytest.mark.parametrize("updates", [0, pytest.param(4, marks=pytest.mark.slow)])
def test_where_no_position_can_be_kept_that_is_said(tmp_path, updates):
    """Before the first update or right after a checkpoint, when the next batch is as bad."""
    for _ in range(2):
        with pytest.raises(UserError, match=rf"goes on after {updates} updates, and comes to this"):
            run(tmp_path, Batches(spoilt=[updates, updates + 1]))


class Careless(SequenceDistillation):
    """Sends a number of the host to the device in every step."""

    def step(self, state: TrainState, batch: Any) -> tuple[TrainState, dict]:
        state, metrics = super().step(state, batch)
        own = metrics[ONLY_STUDENT]
        return state, {ONLY_STUDENT: {**own, "loss": own["loss"] * np.float32(2)}}


def test_a_transfer_that_nobody_asked_for_is_an_error(tmp_path):
    with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device transfer"):
        run(tmp_path, Batches(), kind=Careless)


def test_a_finished_run_does_nothing_more(whole):
    expected, folder = whole
    before = (folder / "metrics.jsonl").read_bytes()
    state = jax.device_get(run(folder, Batches(dies_at=0)))
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    assert (folder / "metrics.jsonl").read_bytes() == before


SEVERAL = {"small": 1, "large": 2}


@pytest.mark.slow
def test_several_students_resume_together_in_the_same_bits(tmp_path):
    """From one checkpoint; each has metrics of its own, and the best of each is kept."""
    expected = jax.device_get(run(tmp_path / "whole", Batches(), students=SEVERAL))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Batches(dies_at=5), students=SEVERAL)
    state = jax.device_get(run(tmp_path / "cut", Batches(), students=SEVERAL))
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    for name in SEVERAL:
        first, again = (RunFolder(tmp_path / n).of_student(name).metrics for n in ("whole", "cut"))
        assert again.read_bytes() == first.read_bytes()
        rows = read_jsonl(first)
        assert [row["step"] for row in rows if row["kind"] == "train"] == [*range(1, STEPS + 1)]
        rates = [row["error_rate"] for row in rows if row["kind"] == "validation"]
        assert rates == [40.0 - SEVERAL[name] * step for step in (4, 8)]
    compute = read_jsonl(tmp_path / "whole" / "compute.jsonl")
    assert {"loss.small", "loss.large", "kl.small", "kl.large"} < set(compute[0]["losses"])
    assert {"encoder_forward", "student_forward.small"} < set(compute[0]["flops"])
    assert sum(row.get("clips", 0) for row in compute) == STEPS * 8


@pytest.mark.slow
def test_the_students_that_went_wrong_are_named(tmp_path):
    """Only the larger gradient is over the limit; neither student is updated."""
    run(
        tmp_path / "sound",
        Batches(),
        settings=CONFIG.model_copy(update={"steps": 1}),
        students=SEVERAL,
    )
    norms = {
        name: read_jsonl(RunFolder(tmp_path / "sound").of_student(name).metrics)[0]["grad_norm"]
        for name in SEVERAL
    }
    larger, smaller = sorted(norms, key=lambda name: -norms[name])
    between = CONFIG.model_copy(update={"exploded_norm": (norms[larger] * norms[smaller]) ** 0.5})
    with pytest.raises(UserError, match=rf"stopped at step 1: student {larger}, loss") as error:
        run(tmp_path / "stopped", Batches(), settings=between, students=SEVERAL)
    assert f"student {smaller}" not in str(error.value)
    assert "was not applied to any student" in str(error.value)
