"""Recordings of the user's own, of any length, through a model."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distil_jax import processes
from distil_jax.data.audio import MAX_SECONDS
from distil_jax.data.audio_stream import stated_seconds
from distil_jax.data.folders import ListCorpus
from distil_jax.data.quarantine import Quarantine
from distil_jax.data.speech import Corpus, SpeechConfig, open_corpus
from distil_jax.errors import ConfigError, UserError
from distil_jax.labelling.settings import DecodeConfig
from distil_jax.labelling.transcriber import Transcriber
from distil_jax.longform.chunked import transcribe_chunked
from distil_jax.longform.formats import FORMATS, SUBTITLES, as_dict
from distil_jax.longform.sequential import transcribe_sequential
from distil_jax.longform.transcript import Recording, Transcript, recordings
from distil_jax.longform.windows import chunk_and_stride
from distil_jax.models.pretrained import load_pretrained
from distil_jax.pipeline.outputs import Outputs
from distil_jax.pipeline.session import Session
from distil_jax.pipeline.shares import Share
from distil_jax.pipeline.train import trained_student
from distil_jax.progress import Progress, progress
from distil_jax.run import ONLY_STUDENT


@dataclass(frozen=True)
class TranscribeOptions:
    """How recordings are transcribed, and what becomes of it.

    formats: of the files in the folder `output`; without a folder the result alone tells the texts.
    timestamps: decode with them; None: as the config's `evaluate.timestamps`, or where a format
    or the sequential algorithm needs them. chunk_seconds: of the chunked algorithm's windows; None:
    30. condition_on_previous: as in transcribe_sequential; None: it is not. Raises ConfigError for
    what does not go together.
    """

    formats: Sequence[str] = ()
    output: Path | None = None
    timestamps: bool | None = None
    long_form: Literal["chunked", "sequential"] = "chunked"
    chunk_seconds: float | None = None
    condition_on_previous: bool | None = None

    def __post_init__(self) -> None:
        self._check_long_form()
        unknown = [form for form in self.formats if form not in FORMATS]
        if unknown:
            raise ConfigError(f"--format {unknown[0]}: expected some of {', '.join(FORMATS)}")
        if self.formats and self.output is None:
            raise ConfigError(f"--format {','.join(self.formats)}: give --output DIR for the files")
        if self.output is not None and self.output.exists() and not self.output.is_dir():
            raise ConfigError(f"--output {self.output}: expected a folder, got a file")
        subtitles = SUBTITLES.intersection(self.formats)
        if self.timestamps is False and subtitles:
            raise ConfigError(
                f"--no-timestamps: {min(subtitles)} is made of times; leave one of the two out"
            )

    def _check_long_form(self) -> None:
        if self.long_form == "sequential":
            if self.chunk_seconds is not None:
                raise ConfigError(
                    f"--chunk-seconds {self.chunk_seconds:g}: the windows of --long-form "
                    f"sequential are 30 s long, and each begins where the text before it ends; "
                    f"leave one of the two out"
                )
            if self.timestamps is False:
                raise ConfigError(
                    "--no-timestamps: --long-form sequential finds its way by them; leave one of "
                    "the two out"
                )
        elif self.condition_on_previous is not None:
            given = "" if self.condition_on_previous else "no-"
            raise ConfigError(
                f"--{given}condition-on-previous: windows of --long-form chunked are decoded side "
                f"by side, and none comes before another; give --long-form sequential"
            )
        if self.chunk_seconds is not None:
            chunk_and_stride(self.chunk_seconds)

    def outputs(self) -> Outputs | None:
        """The files to write."""
        if self.output is None:
            return None
        return Outputs(self.output, tuple(dict.fromkeys(self.formats)) or ("txt",))

    def decoding(self, config: DecodeConfig) -> DecodeConfig:
        """The config's way of decoding, with timestamps as they are wanted."""
        timed = SUBTITLES | {"json"}
        wanted = config.timestamps or bool(timed.intersection(self.formats))
        wanted = wanted if self.timestamps is None else self.timestamps
        wanted = wanted or self.long_form == "sequential"
        return config.model_copy(update={"timestamps": wanted})

    def transcripts(
        self,
        transcriber: Transcriber,
        params: dict,
        found: Iterable[Recording],
        quarantine: Quarantine,
        heard: Callable[[Recording, float], None],
    ) -> Iterator[Transcript]:
        """Of what was found, by the algorithm that is wanted."""
        given = transcriber, params, found, quarantine
        if self.long_form == "sequential":
            return transcribe_sequential(*given, bool(self.condition_on_previous), heard)
        return transcribe_chunked(*given, self.chunk_seconds or MAX_SECONDS, heard)


def transcribe_stage(
    session: Session,
    audio: list[Path],
    model: str,
    student: str | None,
    options: TranscribeOptions,
) -> dict[str, Any]:
    """model: "student" (of the best checkpoint), "teacher", or a folder of weights.

    student: which one of several. Windows of all recordings fill batches together; files are
    written as soon as a recording is through.
    """
    corpora, outputs = _corpora(audio), options.outputs()
    if outputs:
        for corpus in corpora:
            outputs.name(corpus.name, corpus)
    session.check_decoding("evaluate")
    transcriber, params = _model(session, model, student, options.decoding(session.config.evaluate))
    shares = {corpus.name: Share(corpus) for corpus in corpora}
    quarantine, rows = Quarantine(None), {name: [] for name in shares}
    known = session.teacher.vocabulary.codes
    found = (
        recording
        for name, share in shares.items()
        for recording in recordings(name, share, quarantine, known)
    )
    with progress(total=_seconds(corpora), description="transcribe", unit="s of audio") as bar:
        placed, seconds = transcriber.place(params), _Seconds(bar)
        for transcript in options.transcripts(
            transcriber, placed, found, quarantine, seconds.heard
        ):
            row = _told(transcript, outputs)
            rows[transcript.recording.corpus].append((transcript.recording.id, row))
    told = [row for name, share in shares.items() for row in share.gather(rows[name])]
    aside = [row for rows in processes.gather(quarantine.rows) for row in rows]
    segments = [segment for row in told for segment in row.pop("segments", [])]
    timed = {"segments": segments} if transcriber.config.timestamps and not outputs else {}
    return {"model": model, "recordings": told, **timed, "set_aside": aside}


def _told(transcript: Transcript, outputs: Outputs | None) -> dict[str, Any]:
    """What the result says of a recording: its files, or else its text and segments."""
    row = as_dict(transcript)
    whose = {key: row[key] for key in ("source", "id")}
    if outputs:
        told = {key: row[key] for key in ("duration", "language")}
        return {**whose, **told, "files": outputs.write(transcript)}
    return {**row, "segments": [{**whose, **segment} for segment in row["segments"]]}


def _corpora(audio: list[Path]) -> list[Corpus]:
    """What each path holds; a path that is named twice counts once."""
    for path in audio:
        if not path.exists():
            raise UserError(f"--audio {path}: no such file or folder")
    return [open_corpus(name, SpeechConfig(path=name)) for name in dict.fromkeys(map(str, audio))]


def _seconds(corpora: list[Corpus]) -> int | None:
    """How long this process's recordings are, as far as their headers say; None: unknown."""
    if not all(isinstance(corpus, ListCorpus) for corpus in corpora):
        return None  # to read the headers would be to read the tables
    return round(sum(stated_seconds(u.audio) for corpus in corpora for u in Share(corpus)))


class _Seconds:
    """Moves a progress bar by whole seconds of sound."""

    def __init__(self, bar: Progress):
        self._bar, self._heard, self._told = bar, 0.0, 0

    def heard(self, recording: Recording, seconds: float) -> None:
        self._heard += seconds
        self._bar.advance(round(self._heard) - self._told, note=recording.id)
        self._told = round(self._heard)


def _model(
    session: Session, model: str, student: str | None, decode: DecodeConfig
) -> tuple[Transcriber, dict]:
    if student is not None and model != "student":
        raise UserError(f"--student {student} goes with --model student only; got --model {model}")
    if model == "teacher":
        return session.teacher_transcriber(decode), session.teacher.params
    if model == "student":
        name = _chosen(session, student)
        params, _ = trained_student(session, name)
        return session.transcriber(session.students[name], decode), params
    loaded = load_pretrained(model)
    if loaded.config.vocab_size != session.teacher.config.vocab_size:
        raise UserError(
            f"--model {model}: its vocabulary has {loaded.config.vocab_size} tokens, the config's "
            f"teacher {session.teacher.config.vocab_size}; give a config with a teacher of its kind"
        )
    return session.transcriber(loaded.config, decode), loaded.params


def _chosen(session: Session, student: str | None) -> str:
    """The name of the student to take: the only one, or that of several which is named."""
    names = list(session.students)
    if ONLY_STUDENT in names:
        if student is None:
            return ONLY_STUDENT
        raise UserError(
            f"--student {student}: this run has one student without a name; leave it out"
        )
    if student not in names:
        got = f"--student {student}: no such student" if student else "which student?"
        raise UserError(f"{got}; give --student NAME, one of {', '.join(names)}")
    return student
