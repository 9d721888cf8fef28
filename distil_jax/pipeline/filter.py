"""The stage that filters, and what tells how well it does."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distil_jax import processes
from distil_jax.errors import UserError
from distil_jax.labelling.filters import filter_labels, write_histogram
from distil_jax.labelling.filters.audit import audit
from distil_jax.labelling.filters.charts import write_precision_recall
from distil_jax.pipeline.label import label_stores
from distil_jax.pipeline.scores import scored_labels
from distil_jax.pipeline.session import Session
from distil_jax.run import atomic_path, fingerprint, write_json

# Keys of the metadata of what was decided, with hashes of the labels and of the settings.
_LABELS, _SETTINGS = b"labels", b"settings"


def filter_stage(session: Session) -> dict[str, Any]:
    """Decide from the labels' scores which clips to train on. Nothing is labelled again.

    Scores that look at the sound again are measured first, where that is not done yet.
    """
    config = session.config.filter
    labels = scored_labels(session, config.used.values())
    scores, summary = filter_labels(labels, config)
    folder = session.folder.filter
    _check_trained_on(session, scores)
    scores = scores.replace_schema_metadata(_made_with(session))
    processes.barrier("checked")
    if processes.is_writer():
        with atomic_path(folder / "scores.parquet") as path:
            pq.write_table(scores, path)
        write_json(folder / "summary.json", summary)
        write_histogram(scores, config.lambda_, folder / "histogram.png")
    processes.barrier("filtered")
    return {**summary, "histogram": str(folder / "histogram.png")}


def audit_stage(session: Session, above: float) -> dict[str, Any]:
    """How well each score finds labels with an error rate of `above` percent or more.

    Of the clips that have a reference. Decides nothing: the run stays as it is.
    """
    config = session.config.filter
    labels = scored_labels(session, config.available.values())
    found = audit(labels, config, above, session.config.seed)
    folder, share = session.folder.filter, found.wrong / found.labels
    result = {"above": above, "labels": found.labels, "wrong": found.wrong, "filters": found.rows}
    if processes.is_writer():
        write_json(folder / "audit.json", result)
        write_precision_recall(found.curves, share, above, folder / "audit.png")
    processes.barrier("audited")
    return {**result, "chart": str(folder / "audit.png")}


def _check_trained_on(session: Session, scores: pa.Table) -> None:
    """Raises UserError when a student was trained on other clips than those now kept."""
    columns = ["corpus", "id", "kept"]
    path = session.folder.filter / "scores.parquet"
    if not session.folder.trained or not path.exists():
        return
    if not pq.read_table(path, columns=columns).equals(scores.select(columns)):
        raise UserError(
            f"{session.folder.checkpoints} holds a student that was trained on other clips than "
            f"these settings keep. To filter anew, move that folder away: labels stay as they are."
        )


def filter_scores(session: Session, columns: list[str]) -> list[dict]:
    """What the filter decided about each clip."""
    return pq.read_table(_decided(session), columns=columns).to_pylist()


def filtered_labels(session: Session) -> str:
    """A hash of the labels that the filter saw."""
    return (pq.read_schema(_decided(session)).metadata or {}).get(_LABELS, b"").decode()


def check_filtered(session: Session) -> None:
    """Raises UserError when the filter saw other labels than there are, or had other settings."""
    path = _decided(session)
    found, now = pq.read_schema(path).metadata or {}, _made_with(session)
    for key in (_LABELS, _SETTINGS):
        if found.get(key) != now[key]:
            raise UserError(
                f"{path} was decided with other {key.decode()} than these; run `distil-jax filter` "
                f"again"
            )


def _decided(session: Session) -> Path:
    path = session.folder.filter / "scores.parquet"
    if not path.exists():
        raise UserError(f"{path} is not there; run `distil-jax filter` first")
    return path


def _made_with(session: Session) -> dict[bytes, bytes]:
    stores = label_stores(session).items()
    labels = [[session.label_fingerprint(name), store.content] for name, store in stores]
    settings = session.config.filter.model_dump(mode="json")
    return {_LABELS: fingerprint(labels).encode(), _SETTINGS: fingerprint(settings).encode()}
