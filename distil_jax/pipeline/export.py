"""The export stage: each student's best in the formats asked for, read again and compared."""

from collections import Counter
from typing import Any

import jax
import numpy as np

from distil_jax import __version__, processes
from distil_jax.export.formats import is_written, verify_formats, write_formats
from distil_jax.export.model_card import model_card
from distil_jax.export.student import Student
from distil_jax.models.architecture import architecture_of
from distil_jax.models.layers import Compute
from distil_jax.models.log_mel import CLIP_SAMPLES
from distil_jax.pipeline.alignment import find_alignment
from distil_jax.pipeline.evaluate import evaluated
from distil_jax.pipeline.label import all_labels
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.train import train_fingerprint, trained_student
from distil_jax.run import ONLY_STUDENT, fingerprint, read_json, write_json


def export_stage(session: Session) -> dict[str, Any]:
    """Write and verify the folders; an export of the very same student is left as it is."""
    session.check_export()
    return session.for_each_student(lambda name: _export_student(session, name))


def _export_student(session: Session, name: str) -> dict[str, Any]:
    student, step = trained_student(session, name)
    settings = session.config.export
    session.write_config()
    evaluation = evaluated(session, name, step)
    training = train_fingerprint(session)
    made_with = fingerprint(training, name, step, settings.model_dump(), evaluation, __version__)
    folder = session.folder.of_student(name)
    proof = folder.root / "export.json"
    found = read_json(proof)
    written = is_written(folder.export, settings)
    fresh = found is not None and found["made_with"] == made_with and written
    if not fresh and processes.is_writer():
        proof.unlink(missing_ok=True)  # it does not vouch for what is written from here on
        result = {"made_with": made_with, **_export(session, name, student, step, evaluation)}
        write_json(proof, result)
    processes.barrier("exported")
    return {key: value for key, value in read_json(proof).items() if key != "made_with"}


def _export(
    session: Session, name: str, params: dict, step: int, evaluation: dict
) -> dict[str, Any]:
    config, folder = session.students[name], session.folder.of_student(name).export
    settings, vocabulary = session.config.export, session.teacher.vocabulary
    alignment = find_alignment(session, name, params)
    student = Student(
        config,
        params,
        vocabulary,
        session.teacher.generation_config,
        model_card(_facts(session, name, params, step, evaluation)),
        alignment.heads if alignment else None,
    )
    write_formats(folder, student, settings)

    def logits(params: dict) -> np.ndarray:
        """Of a second of noise and the decoder's first tokens."""
        noise = np.zeros((1, CLIP_SAMPLES), np.float32)
        noise[:, :16_000] = np.random.default_rng(0).normal(0, 0.1, (1, 16_000))
        some = next(iter(vocabulary.languages), None)
        tokens = np.array([vocabulary.prefix(some)], np.int32)
        return np.asarray(jax.jit(forward)(params, noise, tokens))

    def forward(params: dict, noise: jax.Array, tokens: jax.Array) -> jax.Array:
        model = architecture_of(config).bind(config, Compute(), params)
        return model.decoder.logits(model.decoder(tokens, model.encode(noise)))

    verified = verify_formats(folder, student, settings, logits)
    return {
        "folder": str(folder),
        "step": step,
        "alignment": alignment and alignment._asdict(),
        **verified,
    }


def _facts(
    session: Session, name: str, student: dict, step: int, evaluation: dict
) -> dict[str, Any]:
    """What the model card says."""
    config, teacher, shape = session.config, session.teacher.config, session.students[name]
    return {
        "name": config.name if name == ONLY_STUDENT else f"{config.name}-{name}",
        "teacher": session.teacher.source,
        "license": config.export.license,
        "languages": _languages(session),
        "encoder_layers": shape.encoder_layers,
        "decoder_layers": shape.decoder_layers,
        "teacher_encoder_layers": teacher.encoder_layers,
        "teacher_decoder_layers": teacher.decoder_layers,
        "parameters": sum(int(np.size(a)) for a in jax.tree.leaves(student)),
        "data": [
            {"name": name, "source": source.path, "license": None}
            for name, source in config.data.train.items()
        ],
        "filter": read_json(session.folder.filter / "summary.json"),
        "steps": step,
        "objectives": [{"name": o.name, "weight": o.weight} for o in config.objectives],
        "evaluation": [
            _result(name, compared)
            for name, compared in evaluation.items()
            if compared["teacher"]["error_rate"] is not None
        ],
        "formats": list(config.export.formats),
        "commands": [f"distil-jax run {session.folder.config}"],
        "version": __version__,
    }


def _languages(session: Session) -> list[str]:
    """Of the labels; where languages were detected, without those of a hundredth of the clips."""
    clips = Counter(all_labels(session, ["language"])["language"].to_pylist())
    return sorted(language for language, count in clips.items() if count > clips.total() / 100)


def _result(name: str, compared: dict) -> dict[str, Any]:
    def interval(values: dict) -> dict[str, float]:
        low, high = values["interval"]
        return {"rate": values["error_rate"], "low": low, "high": high}

    metric = "CER" if compared["student"]["unit"] == "character" else "WER"
    rates = {role: interval(compared[role]) for role in ("teacher", "student", "difference")}
    return {"set": name, "metric": metric, "clips": compared["clips"], **rates}
