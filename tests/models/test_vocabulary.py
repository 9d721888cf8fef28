"""Ids by name for every family, text to ids and back, and old tokenizers without timestamps."""

import json

import pytest
from transformers import WhisperTokenizer

from distil_jax.errors import UserError
from distil_jax.models.pretrained import load_pretrained
from distil_jax.models.tokenizer_files import read_tokenizer
from distil_jax.models.vocabulary import Vocabulary, make_vocabulary
from tests.made_up import (
    DEMO_BASE,
    DEMO_TINY,
    ENGLISH,
    FAMILIES,
    LARGE_V3,
    MULTILINGUAL,
    Family,
    write_old_tokenizer,
    write_tokenizer,
)

TEXTS = [
    "",
    " the other, don't",
    "no space  two spaces\n",
    " naïve 日本語 🙂",
    " <|endoftext|> is text <|0.00|>",
    " the<|en|>",
]


def vocabulary(folder, family: Family, write=write_tokenizer, **generation) -> Vocabulary:
    write(folder, family)
    files = {path.name: path for path in folder.iterdir()}
    return make_vocabulary(
        read_tokenizer(files, "made up"), generation, family.vocab_size, "made up"
    )


@pytest.mark.parametrize("write", [write_tokenizer, write_old_tokenizer])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_has_its_own_ids(tmp_path, family, write):
    ids = vocabulary(tmp_path, family, write)
    shift = family.languages - 99
    assert (ids.end, ids.start) == (family.text_tokens, family.text_tokens + 1)
    assert ids.translate == ids.start + 100 + shift
    assert ids.transcribe == ids.translate + 1
    assert ids.previous == ids.translate + 3
    assert ids.no_speech == ids.translate + 4
    assert ids.no_timestamps == ids.translate + 5
    assert ids.first_timestamp == ids.no_timestamps + 1
    assert ids.last_timestamp == family.vocab_size - 1
    assert ids.is_multilingual == (family is not ENGLISH)
    assert len(ids.languages) == (0 if family is ENGLISH else family.languages)


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back_and_holds_nothing_special(tmp_path, text):
    ids = vocabulary(tmp_path, MULTILINGUAL)
    encoded = ids.encode(text)
    assert max(encoded, default=0) < ids.end
    noise = [ids.start, ids.languages["en"], ids.first_timestamp + 7]
    assert ids.decode([*noise, *encoded, ids.last_timestamp, ids.end]) == text


def test_merges_are_applied_in_both_kinds_of_files(tmp_path):
    ids = [vocabulary(tmp_path, MULTILINGUAL, w) for w in (write_tokenizer, write_old_tokenizer)]
    assert len(ids[0].encode(" the")) == 1
    assert ids[0].encode(" the thing") == ids[1].encode(" the thing")


def test_a_first_merge_that_was_lost_is_found_again(tmp_path):
    """As in the tokenizer.json of faster-whisper's conversions."""
    whole = vocabulary(tmp_path, MULTILINGUAL)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    del content["model"]["merges"][0]
    path.write_text(json.dumps(content), "utf-8")
    found = read_tokenizer({path.name: path}, "it")
    assert found == whole.tokenizer
    assert found["model"]["merges"][0] == "Ġ t"


def test_prefixes(tmp_path):
    ids = vocabulary(tmp_path, LARGE_V3)
    assert ids.prefix("yue") == [50258, 50358, 50360, 50364]
    assert ids.prefix("en", "translate", timestamps=True) == [50258, 50259, 50359]
    english = vocabulary(tmp_path, ENGLISH)
    assert english.prefix() == english.prefix("en") == [50257, 50362]
    assert english.prefix(timestamps=True) == [50257]


def test_unknown_languages_and_tasks_are_named_with_what_is_allowed(tmp_path):
    ids = vocabulary(tmp_path, MULTILINGUAL)
    with pytest.raises(UserError, match=r"'xx'.*af, am.*zh"):
        ids.prefix("xx")
    with pytest.raises(UserError, match=r"'sing'.*transcribe, translate"):
        ids.prefix("en", "sing")
    with pytest.raises(UserError, match="English-only"):
        vocabulary(tmp_path, ENGLISH).prefix("de")


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    write_tokenizer(tmp_path, MULTILINGUAL)
    files = {path.name: path for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=r"51864.*51864 embeddings"):
        make_vocabulary(read_tokenizer(files, "it"), {}, 51864, "it")
    with pytest.raises(UserError, match=r"suppress_tokens has \[60000\]"):
        vocabulary(tmp_path, MULTILINGUAL, suppress_tokens=[60000])


@pytest.mark.parametrize("change", ["remove", "truncate", "not BPE", "not Whisper"])
def test_broken_tokenizers_are_named(tmp_path, change):
    write_tokenizer(tmp_path, MULTILINGUAL)
    path = tmp_path / "tokenizer.json"
    text = path.read_text("utf-8")
    value = json.loads(text)
    if change == "not BPE":
        text = json.dumps(dict(value, model={"type": "WordPiece"}))
    if change == "not Whisper":
        text = json.dumps(dict(value, added_tokens=[]))
    path.write_text(text[:1000] if change == "truncate" else text, "utf-8")
    files = {} if change == "remove" else {path.name: path}
    with pytest.raises(UserError, match="tokenizer"):
        make_vocabulary(read_tokenizer(files, "it"), {}, 51865, "it")


@pytest.mark.parametrize("locations, size", [(DEMO_TINY, 51864), (DEMO_BASE, 51865)])
def test_the_published_tokenizers_agree_with_transformers(tmp_path, locations, size):
    try:
        ids = load_pretrained(locations).vocabulary
    except UserError as error:
        pytest.skip(f"the demo packages are not installed: {error}")
    (tmp_path / "tokenizer.json").write_text(json.dumps(ids.tokenizer), "utf-8")
    theirs = WhisperTokenizer.from_pretrained(tmp_path)
    names = ["<|startoftranscript|>", "<|endoftext|>", "<|startofprev|>", "<|notimestamps|>"]
    names += ["<|nocaptions|>", "<|0.00|>", "<|30.00|>"]
    ours = [ids.start, ids.end, ids.previous, ids.no_timestamps]
    ours += [ids.no_speech, ids.first_timestamp, ids.last_timestamp]
    assert theirs.convert_tokens_to_ids(names) == ours
    assert len(theirs) == size
    assert len(ids.encode(" the time")) == 2
    for text in TEXTS[:4]:
        encoded = theirs(text, add_special_tokens=False).input_ids
        assert ids.encode(text) == encoded
        assert ids.decode([ids.start, *encoded, ids.end]) == theirs.decode(
            [ids.start, *encoded, ids.end], skip_special_tokens=True
        )
