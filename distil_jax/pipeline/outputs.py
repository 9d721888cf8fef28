"""Which files the transcripts of many recordings become: one name each, none outside the folder."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile

from distil_jax.data.speech import Utterance
from distil_jax.errors import UserError
from distil_jax.longform.formats import FORMATS
from distil_jax.longform.transcript import Transcript
from distil_jax.run import write_text

_UNFIT = re.compile(r'[\x00-\x1f<>:"\\|?*]')  # in names of files, on one system or another
_LONGEST = 180  # bytes of a name, of the 255 that file systems hold: endings are added


@dataclass
class Outputs:
    """A folder of transcripts, in some formats.

    A recording `talks/a.mp3` of a corpus becomes `talks/a.srt`. Where that name is taken already,
    by `talks/a.wav` or by another corpus, it becomes `talks/a-2.srt`: the order of the corpora and
    of their recordings decides, so that several processes agree.
    """

    folder: Path
    formats: tuple[str, ...]
    _names: dict[tuple[str, str], str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def prepare(self) -> None:
        """Make the folder. Raises UserError where nothing can be written there."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise UserError(
                f"--output {self.folder}: expected a folder to write to: {error.strerror}"
            ) from None

    def name(self, corpus: str, utterances: Iterable[Utterance]) -> None:
        """Give every utterance of a corpus its name.

        Raises UserError where that would write over the transcript that lies beside a recording.
        """
        for utterance in utterances:
            name = next(name for name in _names(utterance.id) if name.casefold() not in self._taken)
            self._taken.add(name.casefold())
            self._names[corpus, utterance.id] = name
            self._spare_the_transcript(utterance, self.folder / f"{name}.txt")

    def write(self, transcript: Transcript) -> list[str]:
        """Write one transcript in every format; -> the paths of the files."""
        recording = transcript.recording
        name = self._names[recording.corpus, recording.id]
        paths = []
        for form in self.formats:
            path = self.folder / f"{name}.{form}"
            write_text(path, FORMATS[form](transcript))
            paths.append(str(path))
        return paths

    def _spare_the_transcript(self, utterance: Utterance, path: Path) -> None:
        if "txt" not in self.formats or not isinstance(utterance.audio, Path):
            return
        beside = utterance.audio.with_suffix(".txt")
        if beside.exists() and path.exists() and path.samefile(beside):
            raise UserError(
                f"--output {self.folder}: {path} lies beside its recording and may be its "
                f"transcript. Give another folder, or formats without txt"
            )


def _names(id: str) -> Iterator[str]:
    """What the files of a recording may be called, without ending: the best, then numbered ones."""
    *folders, name = [_fit(part) for part in PurePosixPath(id).parts] or ["_"]
    stem = "/".join([*folders, PurePosixPath(name).stem])
    yield stem
    for number in count(2):
        yield f"{stem}-{number}"


def _fit(part: str) -> str:
    """A part of an id as a name inside a folder."""
    name = _UNFIT.sub("_", part).encode()[:_LONGEST].decode(errors="ignore")
    return "_" if name in (".", "..", "/") else name
