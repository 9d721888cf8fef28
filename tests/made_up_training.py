"""A small distillation whose every layer matters: random teacher, student, batches."""

from functools import cache, partial

import jax
import numpy as np

from distil_jax.algorithms.sequence_distillation import SequenceDistillation, Student
from distil_jax.data.batch import SpeechBatch
from distil_jax.mesh import MeshConfig, make_mesh
from distil_jax.models.layers import Compute
from distil_jax.models.log_mel import CLIP_SAMPLES
from distil_jax.models.whisper import WhisperConfig, init
from distil_jax.objectives import CrossEntropy, KLDivergence
from distil_jax.run import ONLY_STUDENT
from distil_jax.students.layer_copy import StudentConfig, copy_layers, student_shape
from distil_jax.training.settings import OptimizerConfig, TrainConfig
from tests.made_up import MULTILINGUAL

BATCH, TOKENS, VOCABULARY = 8, 7, 96
OBJECTIVES = (CrossEntropy(weight=0.8), KLDivergence(weight=1.0, temperature=2.0))
TRAIN = TrainConfig(
    steps=6,
    batch_size=BATCH,
    loss_chunk=3,
    optimizer=OptimizerConfig(
        learning_rate=1e-3, warmup_steps=2, weight_decay=0.1, clip_norm=0.5, epsilon=1e-6
    ),
)
ONE_DEVICE, FLOAT32 = MeshConfig(shape=(1, 1, 1)), Compute()
TWO_LAYERS = {ONLY_STUDENT: 2}


@cache
def teacher() -> tuple[WhisperConfig, dict]:
    """Random weights, of a size that makes every layer matter and no norm divide by little."""
    smaller = {"vocab_size": VOCABULARY, "encoder_layers": 1}
    config = WhisperConfig.from_hf({**MULTILINGUAL.hf_config, **smaller})
    rng = np.random.default_rng(0)
    noise = partial(rng.normal, scale=0.3)
    return config, jax.tree.map(lambda a: a + noise(size=a.shape).astype(np.float32), init(config))


def distillation(
    train: TrainConfig = TRAIN,
    mesh: MeshConfig = ONE_DEVICE,
    params: dict | None = None,
    compute: Compute = FLOAT32,
    across: bool = False,
    students: dict[str, int] = TWO_LAYERS,
) -> SequenceDistillation:
    """Of students with so many decoder layers, by name.

    params: of each student, instead of the teacher's. across: neighbours on the last axis of the
    mesh are of different halves of the devices.
    """
    config, taught = teacher()
    shapes = {
        n: student_shape(config, StudentConfig(decoder_layers=k)) for n, k in students.items()
    }
    devices = jax.devices()[: int(np.prod(mesh.shape))]
    if across:
        devices = np.reshape(np.array(devices), (2, -1)).T.flatten().tolist()
    return SequenceDistillation(
        teacher_config=config,
        teacher_params=taught,
        students={
            name: Student(shape, params or copy_layers(taught, config, shape))
            for name, shape in shapes.items()
        },
        objectives=OBJECTIVES,
        config=train,
        compute=compute,
        mesh=make_mesh(mesh, devices),
        rules=mesh.rules,
        teacher_rules=mesh.teacher_rules,
    )


def batch(seed: int = 0) -> SpeechBatch:
    """Clips and targets of unequal lengths; one row is padding altogether."""
    rng = np.random.default_rng(seed)
    lengths = np.array([7, 5, 3, 7, 1, 4, 0, 6])
    tokens = rng.integers(0, VOCABULARY - 1, (BATCH, TOKENS + 1)).astype(np.int32)
    return SpeechBatch(
        samples=rng.normal(0, 0.1, (BATCH, CLIP_SAMPLES)).astype(np.float32),
        seconds=np.full(BATCH, 30.0, np.float32),
        inputs=tokens[:, :-1],
        labels=tokens[:, 1:],
        mask=np.arange(TOKENS) < lengths[:, None],
    )
