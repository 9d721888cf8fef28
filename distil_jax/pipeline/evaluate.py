"""The evaluation stage: teacher and students side by side on each evaluation set."""

from collections import defaultdict
from typing import Any

from distil_jax import processes
from distil_jax.data.speech import Corpus
from distil_jax.pipeline.comparison import comparison, of_set
from distil_jax.pipeline.false_alarms import false_alarms
from distil_jax.pipeline.latency import latency
from distil_jax.pipeline.long_form import long_form
from distil_jax.pipeline.robustness import draw_noise, in_noise
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.side_by_side import SideBySide, known
from distil_jax.pipeline.train import train_fingerprint
from distil_jax.run import fingerprint, write_json


def evaluate_stage(session: Session) -> dict[str, Any]:
    """Compare all models on every evaluation set, and by what else the config asks for.

    What was measured before is left. A set's entry is what error_rates.compare says, "noise" and
    "latency" being rows of tables.
    """
    session.check_decoding("evaluate")
    models = SideBySide.of(session)
    sets: defaultdict[str, dict] = defaultdict(dict)
    for corpus in session.corpora("evaluation").values():
        for name, compared in _on_set(models, corpus).items():
            sets[name][corpus.name] = compared
    for corpus in session.corpora("long_form").values():
        for name, compared in models.measure(long_form(session, corpus)).items():
            sets[name][corpus.name] = compared
    silent = _without_speech(models)
    session.quarantine.merge()
    if processes.is_writer():
        for name in models.students:
            path = session.folder.of_student(name).evaluation / "summary.json"
            write_json(path, {**sets[name], **silent[name]})
    processes.barrier("evaluated")
    return session.for_each_student(
        lambda name: {"step": models.steps[name], "sets": sets[name], **silent[name]}
    )


def evaluated(session: Session, student: str, step: int) -> dict[str, dict]:
    """What is known of a student of this very training and step, by evaluation set."""
    training, decoding = train_fingerprint(session), session.config.evaluate.decoding
    folder = session.folder.of_student(student).evaluation
    sets = {}
    for name in session.config.data.compared:
        made_with = fingerprint(training, student, step, decoding, of_set(session, name))
        sets[name] = known(folder / f"{name}.json", made_with)
    return {name: compared for name, compared in sets.items() if compared is not None}


def _on_set(models: SideBySide, corpus: Corpus) -> dict[str, dict[str, Any]]:
    """All that is measured on one set, by student."""
    session, config = models.session, models.session.config.evaluate
    found = models.measure(comparison(session, corpus))
    if config.noise:
        for name, rows in in_noise(models, corpus, config.noise).items():
            found[name] = {**found[name], "noise": rows}
            draw_noise(session.folder.of_student(name).evaluation, corpus.name, found[name])
    if config.latency:
        for name, rows in models.measure(latency(session, corpus, config.latency)).items():
            found[name] = {**found[name], "latency": rows}
    return found


def _without_speech(models: SideBySide) -> dict[str, dict[str, Any]]:
    """By student, {"no_speech": ...}; nothing where it is not asked for."""
    config = models.session.config.evaluate.no_speech
    if config is None:
        return {name: {} for name in models.students}
    found = models.measure(false_alarms(models.session, config))
    return {name: {"no_speech": compared} for name, compared in found.items()}
