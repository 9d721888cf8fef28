"""The page about a run: whole, half done, and with texts that would break it."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from distil_jax.evaluation.error_rates import compare
from distil_jax.evaluation.languages import by_language
from distil_jax.evaluation.latency import compare_latency
from distil_jax.evaluation.no_speech import compare_false_alarms
from distil_jax.evaluation.noise_levels import level_row
from distil_jax.report import write_report
from distil_jax.run import RunFolder, append_jsonl, read_json, write_json, write_text
from tests.made_up_run import (
    evaluation_rows,
    write_evaluation,
    write_export,
    write_run,
    write_training,
)

ATTACK = "<script>alert('x')</script><img src=x onerror=alert(1)>\" onload=\"y"
VOID = {"meta", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """Its elements; tags that do not match are an error."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def report(run: RunFolder) -> str:
    path = write_report(run)
    assert path == run.report
    html = path.read_text(encoding="utf-8")
    assert_self_contained(html)
    return html


def assert_self_contained(html: str) -> None:
    page = Page(html)
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "base"}
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert not re.search(r"url\((?!#)|@import", html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<style>.*?</style>", "", html)).split())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunFolder:
    return write_run(tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture
def run(whole, tmp_path) -> RunFolder:
    shutil.copytree(whole.root, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_a_whole_run_shows_everything(run):
    html = report(run)
    text = text_of(html)
    assert html.count("<svg") == 7  # loss, two objectives, validation, two more, histogram
    for title in ("cross_entropy", "kl", "validation error rate, %", "gradient norm"):
        assert f"<figcaption>{title}</figcaption>" in html
    found = read_json(run.evaluation / "summary.json")["held_out"]
    for role in ("teacher", "student"):
        assert f"{found[role]['error_rate']:.2f}" in text
        assert "{:.2f} to {:.2f}".format(*found[role]["interval"]) in text
        assert f"{found[role]['parameters']:,}" in text
    assert f"+{found['difference']['error_rate']:.2f}" in text
    kept = read_json(run.filter / "summary.json")
    assert f"Kept {kept['kept_clips']} clips" in text
    assert "error rate &gt;= 10" in text
    assert "3 recordings could not be used" in text
    assert "silent 2" in text
    assert "0.8 × cross_entropy + 1 × kl" in text
    assert str(run.export) in text
    assert 'class="absent"' not in html


def test_several_students_share_a_page(run):
    """Each with its own figures and charts; what they share stands once."""
    text = run.config.read_text(encoding="utf-8")
    several = "students: {small: {decoder_layers: 2}, large: {decoder_layers: 4}}"
    write_text(run.config, text.replace("student: {decoder_layers: 3}", several))
    rates = {}
    for name in ("small", "large"):
        own = run.of_student(name)
        write_training(own, 120)
        own.compute.unlink()
        write_evaluation(own, "held_out", evaluation_rows(40, seed=len(name) + len(rates)))
        write_export(own)
        found = read_json(own.evaluation / "summary.json")["held_out"]
        rates[name] = found["student"]["error_rate"]
    flops = {"teacher_forward": 1e12, "student_forward.small": 2e12, "student_forward.large": 3e12}
    row = {"stage": "train", "step": 1, "flops": flops, "seconds": {}, "losses": {}}
    append_jsonl(run.compute, [{**row, "device": {"kind": "cpu", "count": 2}}])
    html = report(run)
    text = text_of(html)
    assert html.count("<svg") == 2 * 6 + 1
    for name, rate in rates.items():
        assert f"the student {name} makes {rate:.1f} %" in text
        assert f"held_out, student {name}" in text
        assert str(run.of_student(name).export) in text
    assert "students small (2), large (4) with so many decoder layers" in text
    assert "all 384 3.20 7,440 7.20 1.96 5.72 1.20 16.08" in text
    assert 'class="absent"' not in html


def test_a_student_that_is_not_done_says_so_by_name(run):
    write_text(run.config, "students: {small: {}, large: {}}")
    html = report(run)
    assert html.count("Nothing is evaluated yet of student ") == 2
    assert "Nothing is exported yet of student large" in html


def test_compute_is_added_up(run):
    text = text_of(report(run))
    # 24 rows: 16 clips, 0.3 + 0.04 + 0.03 + 0.05 TFLOP, 3.5 seconds each.
    assert "all 384 3.20 7,440 7.20 0.96 0.72 1.20 10.08" in text
    assert "all 0.0 2.4 76.8 0.0 4.8 84.0" in text
    assert "On 2 × cpu" in text


def test_flops_that_are_not_counted_are_a_dash(run):
    row = {"stage": "evaluate teacher", "step": 0, "flops": {}, "seconds": {"evaluation": 1.5}}
    append_jsonl(run.compute, [{**row, "device": {"kind": "cpu", "count": 2}, "losses": {}}])
    assert "evaluate teacher 0 0.00 0 – – – – –" in text_of(report(run))


def test_the_worst_clip_comes_first_and_its_words_are_marked(run):
    rows = evaluation_rows(5)
    for row in rows:
        row["teacher"] = row["student"] = row["reference"]
    rows[1] |= {"reference": "old red birds", "teacher": "red birds", "student": "old cows birds"}
    rows[3] |= {"reference": "we saw", "teacher": "We saw!", "student": "we saw it all"}
    write_evaluation(run, "held_out", rows)
    html = report(run)
    assert html.index("clip-3") < html.index("clip-1")
    assert "clip-2" not in html
    assert "<ins>it all</ins>" in html
    assert "<del>old</del>" in html
    assert "<del>red</del> <ins>cows</ins>" in html
    assert 'title="We saw!"' in html


def test_a_model_that_runs_on_and_on_is_cut(run):
    rows = evaluation_rows(2)
    rows[0]["student"] = "thanks " * 5000
    write_evaluation(run, "held_out", rows)
    html = report(run)
    assert re.search(r"… and 4,9\d\d more", html)


def test_a_perfect_student(run):
    rows = [{**row, "student": row["reference"]} for row in evaluation_rows(3)]
    write_evaluation(run, "held_out", rows)
    assert "The student has every clip right." in report(run)


def test_chinese_is_marked_character_by_character(run):
    row = {"id": "z", "language": "zh", "duration": 1.0, "reference": "我们去公园"}
    write_evaluation(run, "chinese", [{**row, "teacher": "我们去公园", "student": "我们去花园"}])
    html = report(run)
    assert "我们去<del>公</del>" in html
    assert "character errors" in text_of(html)


def test_clips_without_any_reference(run):
    write_evaluation(run, "held_out", [{**row, "reference": None} for row in evaluation_rows(3)])
    text = text_of(report(run))
    assert "3 of them without a reference: not counted" in text


def test_what_else_was_measured(run):
    """Noise, latency, languages and clips without speech; odd names stay text."""
    rows = [{**row, "id": f"<b>{row['id']}"} for row in evaluation_rows(30)]
    rows[2]["student"] += " thank you" * 20
    write_evaluation(run, "held_out", rows)
    levels = [
        level_row("white", snr_db, compare(evaluation_rows(30, seed), 0, 100))
        for seed, snr_db in enumerate([10.0, -5.0])
    ]
    levels.append({**levels[0], "noise": "babble", "teacher": None, "teacher_interval": None})
    times = {"whole": [2.0, 4.0], "features": [0.25]}
    languages = [{**row, "language": "de" if n % 2 else "en"} for n, row in enumerate(rows)]
    silent = [
        {"kind": "hum", "duration": 30.0, "text": text, "language": "en", "mean_logprob": -2.0}
        for text in ("thank you", "")
    ]
    silent = [{**row, "no_speech_prob": 0.9} for row in silent]
    path = run.evaluation / "summary.json"
    summary = read_json(path)
    summary["held_out"] |= {
        "noise": levels,
        "latency": [compare_latency(16, {"teacher": times, "student": times})],
        **by_language(languages, 0, 100),
    }
    summary["no_speech"] = compare_false_alarms({"teacher": silent, "student": silent[:1] * 2})
    write_json(path, summary)
    html = report(run)
    text = text_of(html)
    assert html.count("<svg") == 8
    assert f"white −5 {levels[1]['teacher']:.1f} " in text
    assert f"babble 10 – – {levels[0]['student']:.1f} " in text
    assert "16 3.0000 3.8000 3.0000 3.8000 0.2500 1.00 ×" in text
    assert f"mean of the languages {summary['held_out']['macro_average']['teacher']:.2f}" in text
    assert "teacher 50.0 9.5 to 90.5 2.0 0.0 0.0 to 65.8 0.0" in text
    assert "2 clips, 1.0 minutes, made up" in text
    found = summary["held_out"]["student"]["hallucination"]
    assert f"student {found['ier']:.2f} {found['ser']:.2f} {found['der']:.2f}" in text
    assert "&lt;b&gt;clip-2 34" in text  # the same two words twenty times


PARTS = {
    "config": ("config.yaml", "The folder holds no config.yaml."),
    "metrics": ("metrics.jsonl", "Nothing is trained yet"),
    "filter": ("filter", "No labels are filtered yet"),
    "evaluation": ("evaluation", "Nothing is evaluated yet"),
    "quarantine": ("quarantine.jsonl", "No recording was set aside."),
    "compute": ("compute.jsonl", "No work is logged yet"),
    "export": ("export.json", "Nothing is exported yet"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_not_there_is_a_sentence(run, part: str):
    name, sentence = PARTS[part]
    path = run.root / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    text = text_of(report(run))
    assert sentence in text
    others = {other: said for other, (_, said) in PARTS.items() if other != part}
    assert not [said for said in others.values() if said in text]


def test_an_empty_folder_has_a_page(tmp_path):
    text = text_of(report(RunFolder(tmp_path / "nothing")))
    for _, sentence in PARTS.values():
        assert sentence in text


def test_a_run_killed_while_it_wrote_has_a_page(run):
    for path in (run.metrics, run.compute, run.quarantine):
        with open(path, "a", encoding="utf-8") as file:
            file.write('{"step": 125, "ki')
    (run.filter / "scores.parquet").unlink()
    for path in run.evaluation.glob("*.parquet"):
        path.unlink()
    text = text_of(report(run))
    assert "No clips are compared yet" in text


def test_training_that_has_just_begun(run):
    values = {"loss": 3.0, "kl": 2.0, "grad_norm": 9.0, "learning_rate": 0.0}
    write_text(run.metrics, "")
    append_jsonl(run.metrics, [{"step": 1, "kind": "train", **values}])
    html = report(run)
    assert html.count("<figcaption>") == 4


def test_a_long_training_keeps_the_page_small(run):
    write_text(run.metrics, "")
    append_jsonl(run.metrics, ({"step": i, "kind": "train", "loss": i % 7} for i in range(20_000)))
    assert len(report(run)) < 300_000


def test_names_and_texts_cannot_break_the_page(run):
    write_json(run.root / "export.json", {"step": 1, "parameters": 2, "max_logit_difference": 0.0})
    write_text(run.config, f"name: {ATTACK!r}\n# </pre></details>{ATTACK}\n")
    bad = {"id": ATTACK, "corpus": ATTACK, "reason": ATTACK}
    append_jsonl(run.quarantine, [bad])
    values = {"loss": 1.0, ATTACK: 2.0, "a$b_{c}$": 1.0}
    write_text(run.metrics, "")
    append_jsonl(run.metrics, [{"step": 1, "kind": "train", **values}])
    rows = [{**row, "id": ATTACK, "student": f"{ATTACK} $x$"} for row in evaluation_rows(2)]
    rows[0]["reference"] = ATTACK
    write_evaluation(run, "held_out", rows)
    summary = read_json(run.filter / "summary.json")
    write_json(run.filter / "summary.json", {**summary, "reasons": {ATTACK: 3}})
    html = report(run)
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_a_file_name_that_is_no_text_is_shown_as_far_as_it_goes(run):
    line = '{"id": "caf\\udce9.wav", "corpus": "c", "reason": "silent"}\n'
    with open(run.quarantine, "a", encoding="utf-8") as file:
        file.write(line)
    assert "caf?.wav" in report(run)


def test_a_config_that_is_not_yaml_is_shown_as_it_is(run):
    write_text(run.config, "name: [broken\n")
    assert "name: [broken" in report(run)


def test_the_page_is_the_same_every_time(run):
    assert report(run) == report(run)


def test_the_page_says_where_the_run_is_now(run, tmp_path):
    moved = Path(shutil.move(run.root, tmp_path / "moved"))
    assert str(moved / "export") in report(RunFolder(moved))
