"""The alignment heads of students: found in the export stage, used when words are timed."""

from distil_jax.labelling.alignment.aligner import Aligner, Spoken
from distil_jax.labelling.alignment.heads import Found, find_heads
from distil_jax.models.alignment_heads import Heads, alignment_heads
from distil_jax.pipeline.examples import labelled_clips
from distil_jax.pipeline.session import Session
from distil_jax.run import read_json


def find_alignment(session: Session, name: str, params: dict) -> Found | None:
    """Heads of a student that agree with the teacher's alignment of its own labels.

    None where the config asks for none, or no label has a token to align.
    """
    count = session.config.export.alignment_clips
    spoken = _spoken(session, count) if count else []
    if not spoken:
        return None
    # The weights of all heads take much memory: one clip at once is enough for a device.
    decode = session.config.label.model_copy(update={"batch_size": 1})
    teacher = session.teacher_transcriber(decode)
    aligner = Aligner(teacher, alignment_heads(session.teacher.generation_config, teacher.model))
    known = [times.ends for times in aligner(teacher.place(session.teacher.params), spoken)]
    student = session.transcriber(session.students[name], decode)
    return find_heads(student, student.place(params), spoken, known)


def _spoken(session: Session, count: int) -> list[Spoken]:
    label, vocabulary = session.config.label, session.teacher.vocabulary
    return [
        Spoken(clip.samples, vocabulary.prefix(clip.language, label.task, label.timestamps), tokens)
        for clip, tokens in labelled_clips(session, count)
    ]


def known_heads(session: Session, name: str, step: int) -> Heads | None:
    """What the export stage found for the student of this step."""
    found = read_json(session.folder.of_student(name).root / "export.json")
    if found is None or found["step"] != step or found.get("alignment") is None:
        return None
    return tuple((layer, head) for layer, head in found["alignment"]["heads"])
