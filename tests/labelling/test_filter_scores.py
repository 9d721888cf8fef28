"""Each score against a slow plain version of its formula."""

import math
import statistics
from collections import Counter
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest

from distil_jax.data.text import count_errors, normaliser
from distil_jax.errors import UserError
from distil_jax.labelling.filters import FilterConfig
from distil_jax.labelling.filters.base import Score
from distil_jax.labelling.filters.error_rate import ErrorRate, with_errors
from distil_jax.labelling.filters.likelihood import negative_log_likelihood
from distil_jax.labelling.filters.registry import DEFAULTS, FromLabels, Measured
from distil_jax.labelling.store import SCHEMA
from tests.labelling.made_up_labels import label_table, scored_labels

EVERY = [*get_args(FromLabels), *get_args(Measured)]


def score(name: str, labels: pa.Table, **settings: Any) -> list[float]:
    """NaN as None, to be compared."""
    found = DEFAULTS[name](**settings).of(labels)
    assert found.dtype == np.float64
    assert found.shape == (labels.num_rows,)
    return [None if math.isnan(each) else float(each) for each in found]  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_a_score_says_which_end_is_good_and_what_it_reads(kind: type[Score]):
    assert kind.good in ("high", "low")
    added = [field.name for field in getattr(kind, "adds", ())]
    assert {*kind.columns} <= {*SCHEMA.names, "errors", "length", *added}
    assert len({each.model_fields["name"].default for each in EVERY}) == len(EVERY)


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_score_is_of_its_columns_alone_and_of_empty_tables_too(name: str):
    labels = with_errors(scored_labels(20))
    made = DEFAULTS[name]()
    np.testing.assert_array_equal(made.of(labels), made.of(labels.select([*made.columns])))
    assert made.of(labels.slice(0, 0)).shape == (0,)
    sign = 1 if made.good == "low" else -1
    np.testing.assert_array_equal(made.badness(labels), sign * made.of(labels))


def test_what_decoding_left():
    labels = label_table(
        [
            {"mean_logprob": -0.5, "mean_entropy": 1.25, "no_speech_prob": 0.5, "ended": False},
            {"compression_ratio": 2.5},
        ]
    )
    assert score("confidence", labels) == [pytest.approx(math.exp(-0.5)), None]
    assert score("entropy", labels) == [1.25, None]
    assert score("no_speech", labels) == [0.5, None]
    assert score("compression", labels) == [None, 2.5]
    assert score("ended", labels) == [0.0, 1.0]


def test_the_error_rate_is_that_of_the_texts():
    labels = with_errors(scored_labels(40, unreferenced=3))
    rows = labels.to_pylist()
    wanted = [
        None if r["reference"] is None else count_errors(r["reference"], r["label"], "en").rate
        for r in rows
    ]
    assert wanted[:3] == [None] * 3
    assert score("error_rate", labels) == pytest.approx(wanted)
    empty = with_errors(label_table([{"reference": "", "label": "word"}]))
    assert np.isnan(ErrorRate().of(empty)).all()


@pytest.mark.parametrize(
    "text, language, n, share",
    [
        ("we go and we go and we go and", "en", 3, 1 - 3 / 7),
        ("we go", "en", 3, 0.0),
        ("", "en", 3, 0.0),
        ("No, no! no no.", "en", 1, 0.75),
        ("我们我们我们", "zh", 2, 1 - 2 / 5),
    ],
)
def test_repetition_is_the_share_of_ngrams_met_before(text, language, n, share):
    labels = label_table([{"label": text, "language": language}])
    assert score("repetition", labels, n=n) == [pytest.approx(share)]


def test_speech_rate_of_a_language_that_is_common_is_compared_within_it():
    """Four letters a second are odd among twelve, and none among their like."""
    english = [{"label": "a" * (11 + n % 3), "duration": 1.0, "language": "en"} for n in range(40)]
    chinese = [{"label": "好" * (4 + n % 2), "duration": 1.0, "language": "zh"} for n in range(20)]
    few = score("speech_rate", label_table([*english, *chinese[:19]]))[40:]
    many = score("speech_rate", label_table([*english, *chinese]))[40:]
    assert min(few) > 3
    assert max(many) < 2


def test_speech_rate_is_in_robust_deviations_of_each_corpus():
    rng = np.random.default_rng(0)
    rows = [
        {"label": "a" * int(rng.integers(5, 50)), "duration": float(d), "corpus": corpus}
        for d, corpus in zip(rng.uniform(1, 9, 41), ["x", "y"] * 20 + ["z"], strict=True)
    ]
    rows.append({"label": "...", "duration": 2.0, "corpus": "x"})
    rates = [math.log(len(r["label"]) / r["duration"]) for r in rows[:-1]]
    wanted: list[float | None] = []
    for row, rate in zip(rows, rates, strict=False):
        own = [v for v, r in zip(rates, rows, strict=False) if r["corpus"] == row["corpus"]]
        middle = statistics.median(own)
        deviation = statistics.median(abs(v - middle) for v in own) / 0.6745
        wanted.append(abs(rate - middle) / deviation if deviation else abs(rate - middle))
    assert score("speech_rate", label_table(rows)) == pytest.approx([*wanted, None])


def test_language_mismatch_is_the_share_of_the_corpus_in_others():
    rows = [{"corpus": "x", "language": each} for each in ("de", "de", "de", "fr", None)]
    rows.append({"corpus": "y", "language": "fr"})
    labels = label_table(rows)
    assert score("language_mismatch", labels) == [0.25, 0.25, 0.25, 0.75, None, 0.0]
    for french in ("fr", "French", "fr-CA"):
        assert score("language_mismatch", labels, expected=french) == [1, 1, 1, 0, None, 0]
    with pytest.raises(ValueError, match="got 'Klingon', expected a language of Whisper's"):
        score("language_mismatch", labels, expected="Klingon")


def plain_likelihood(text: str, learnt: list[str], symbols: int, order: int, prior: float) -> float:
    """-mean log p of a text's characters and its end, by counting."""
    grams: Counter = Counter()
    contexts: Counter = Counter()
    for other in learnt:
        marked = ["START"] * (order - 1) + [*other, "END"]
        for i in range(order - 1, len(marked)):
            for n in range(order):
                contexts[tuple(marked[i - n : i])] += 1
                grams[(tuple(marked[i - n : i]), marked[i])] += 1
    marked, total = ["START"] * (order - 1) + [*text, "END"], 0.0
    for i in range(order - 1, len(marked)):
        chance = 1 / symbols
        for n in range(order):
            context = tuple(marked[i - n : i])
            chance = (grams[(context, marked[i])] + prior * chance) / (contexts[context] + prior)
        total -= math.log(chance)
    return total / (len(text) + 1)


TEXTS = ["abcab", "abc", "b", "", "cabbage", "abc", "zz", "ab ab ab ab", "c" * 30]


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("prior", [0.5, 3.0])
def test_likelihood_of_each_text_under_all_others(order: int, prior: float):
    symbols = len(set("".join(TEXTS))) + 1
    wanted = [
        plain_likelihood(text, TEXTS[:i] + TEXTS[i + 1 :], symbols, order, prior)
        for i, text in enumerate(TEXTS)
    ]
    found = negative_log_likelihood(TEXTS, None, order, prior)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_likelihood_under_a_text_of_its_own():
    learnt = ["abracadabra", "abc"]
    symbols = len(set("".join([*TEXTS, *learnt]))) + 1
    wanted = [plain_likelihood(text, learnt, symbols, 3, 2.0) for text in TEXTS]
    np.testing.assert_allclose(negative_log_likelihood(TEXTS, learnt, 3, 2.0), wanted, rtol=1e-12)


def test_a_text_of_another_language_is_the_least_likely(tmp_path):
    english = scored_labels(60)["label"].to_pylist()
    labels = label_table([{"label": text} for text in [*english, "wir gingen nach hause"]])
    assert np.argmax(score("likelihood", labels)) == 60
    book = tmp_path / "book.txt"
    book.write_text("\n".join(english).upper() + "\n\n", encoding="utf-8")
    assert np.argmax(score("likelihood", labels, text=str(book))) == 60
    learnt = [normaliser("en")(text) for text in english]
    texts = [normaliser("en")(row) for row in labels["label"].to_pylist()]
    assert score("likelihood", labels, text=str(book)) == pytest.approx(
        negative_log_likelihood(texts, learnt, 5, 2.0)
    )


def test_a_text_to_learn_from_that_is_none(tmp_path):
    with pytest.raises(UserError, match=r"likelihood.text .*no.txt cannot be read"):
        score("likelihood", label_table([{}]), text=str(tmp_path / "no.txt"))


def test_agreement_is_what_was_said_again():
    said = [["one day we saw", "One day, we say"], ["", ""], ["no", "no no"], None]
    labels = label_table([{"label": text} for text in ("One day, we saw!", "no", "", "one")])
    labels = labels.append_column("drawn_texts", pa.array(said))
    config = FilterConfig.model_validate({"scores": [{"name": "agreement"}]})
    # One word of eight; all of them; one and two words for none, which counts as one.
    wanted = [100 - 25 / 2, 0.0, -50.0, np.nan]
    np.testing.assert_array_equal(config.available["agreement"].of(labels), wanted)


def test_the_proxy_is_the_reference():
    labels = label_table(
        [
            {"label": "One day, we saw!"},
            {"label": "one day"},
            {"label": "one day we saw"},
            {"label": "one day"},
        ]
    )
    heard = pa.array(["one day we saw", "one day we saw", "", None])
    labels = labels.append_column("proxy_label", heard)
    config = FilterConfig.model_validate({"scores": [{"name": "proxy", "weights": "w"}]})
    np.testing.assert_array_equal(config.available["proxy"].of(labels), [0.0, 50.0, 400.0, np.nan])
