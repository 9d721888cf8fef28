"""Speculative decoding of real recordings against the teacher alone, both ours, in float32.

    python -m tests.benchmarks.speculative [--batch 1] [--tokens 5] [--clips 16] [--rounds 3]
    python -m tests.benchmarks.speculative --draft runs/NAME/export --batch 8 --clips 200
    python -m tests.benchmarks.speculative --recordings FOLDER --clips 200

The teacher is whisper base. Compared: labelling.transcriber.Transcriber without and with a draft
model, as `distil-jax label` calls it with `label.speculative`. The draft model: of tiny's shape,
with an encoder of its own, made of tiny.en (tests/tiny_draft.py); or, by --draft, a folder of
weights of base's vocabulary, such as a student of base.

The same in both: decoded clips in memory, in batches of --batch, from samples to text with scores;
at most 128 new tokens. The tokens must be the same: if those of a clip are not, it says so. The
acceptance rate is of the drafted tokens that the teacher judged.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks import figures, harness, materials
from tests.benchmarks.harness import Contender

PLAIN, SPECULATIVE = "teacher alone", "speculative"
Run = Callable[[], tuple[list[list[int]], dict[str, Any]]]


def prepare(folder: Path, count: int, recordings: str) -> float:
    return materials.write_clips(folder / "clips.npz", count, recordings)


def plain(folder: Path, batch: int) -> Run:
    transcriber, params, _ = materials.transcriber("base", batch)
    return _run(folder, transcriber, params)


def speculative(folder: Path, batch: int, draft: str | None, tokens: int) -> Run:
    from distil_jax.labelling.draft import Draft, check_vocabulary
    from distil_jax.models.pretrained import load_pretrained
    from tests.tiny_draft import tiny_draft

    transcriber, params, teacher = materials.transcriber("base", batch)
    model = load_pretrained(draft) if draft else tiny_draft(teacher)
    check_vocabulary(model, teacher)
    drafting = Draft.of(model.config, model.params, tokens, teacher.config, teacher.params)
    return _run(folder, replace(transcriber, draft=drafting), params)


def _run(folder: Path, transcriber: Any, params: dict) -> Run:
    from distil_jax.labelling.draft import acceptance

    clips = materials.read_clips(folder / "clips.npz").unlabelled

    def run() -> tuple[list[list[int]], dict[str, Any]]:
        tokens = [label.tokens for _, label in transcriber(params, clips)]
        return tokens, acceptance(transcriber.take_drafted())

    return run


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=5, help="drafted at once")
    parser.add_argument("--draft", help="a folder of weights; without it, tiny's shape")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--recordings", default=materials.QUICKSTART, help="a folder of English")
    options = parser.parse_args()
    machine = figures.machine(options.cores)
    with TemporaryDirectory() as name:
        folder = Path(name)
        seconds = harness.aside(prepare, folder, options.clips, options.recordings)
        drafted = (folder, options.batch, options.draft, options.tokens)
        contenders = [
            Contender(PLAIN, plain, (folder, options.batch)),
            Contender(SPECULATIVE, speculative, drafted),
        ]
        timings = harness.measure(contenders, options.rounds, options.cores)
    (expected, _), (found, rates) = (timings[each.name].warm_up[0] for each in contenders)
    same = sum(a == b for a, b in zip(found, expected, strict=True))
    facts = {
        "seconds of audio": round(seconds, 2),
        "tokens": sum(map(len, expected)),
        "same tokens": f"{same} of {len(expected)} clips",
        **rates,
    }
    pairs = [(SPECULATIVE, PLAIN)]
    figures.report(timings, pairs, machine, vars(options) | facts, options.json)


if __name__ == "__main__":
    main()
