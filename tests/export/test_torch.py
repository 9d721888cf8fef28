"""Exported folders in PyTorch: the same weights, and transformers generates from them."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from distil_jax.export.hugging_face import write_folder
from distil_jax.models.alignment_heads import alignment_heads
from distil_jax.models.pretrained import Pretrained, load_pretrained, name_table, to_state_dict
from distil_jax.models.state_dict import lookup
from distil_jax.models.tokenizer_files import read_tokenizer
from distil_jax.models.vocabulary import make_vocabulary
from distil_jax.models.whisper import WhisperConfig, init
from tests.made_up import (
    DEMO_BASE,
    DEMO_TINY,
    ENGLISH,
    FAMILIES,
    MULTILINGUAL,
    Family,
    write_generation_config,
    write_tokenizer,
)
from tests.made_up_student import real_model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def random_model(folder: Path, family: Family) -> Pretrained:
    """A small model of the family with random weights and a made-up tokenizer."""
    config = WhisperConfig.from_hf(family.hf_config)
    write_tokenizer(folder, family)
    generation = write_generation_config(folder, family)
    tokenizer = read_tokenizer({"tokenizer.json": folder / "tokenizer.json"}, "made up")
    vocabulary = make_vocabulary(tokenizer, generation, config.vocab_size, "made up")
    params = jax.tree.map(np.asarray, init(config))
    return Pretrained(config, params, vocabulary, generation, "made up", "")


def with_fewer_layers(model: Pretrained, kept: list[int]) -> Pretrained:
    """The model with only some of its decoder layers."""
    blocks = jax.tree.map(lambda a: a[np.array(kept)], model.params["decoder"]["blocks"])
    params = {**model.params, "decoder": {**model.params["decoder"], "blocks": blocks}}
    config = model.config.model_copy(update={"decoder_layers": len(kept)})
    return Pretrained(
        config, params, model.tokenizer, model.generation_config, model.source, model.fingerprint
    )


def export(folder: Path, model: Pretrained, **options: Any) -> None:
    generation = model.generation_config
    heads = alignment_heads(generation, model.config)
    write_folder(
        folder, model.config, model.params, model.vocabulary, generation, "card", heads, **options
    )


def in_torch(folder: Path, expected: Pretrained) -> Any:
    """The folder's model in PyTorch, after checking that it and ours have the exact weights."""
    model, info = transformers.WhisperForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    theirs = model.state_dict()
    for name, array in to_state_dict(expected.config, expected.params).items():
        np.testing.assert_array_equal(theirs[name].numpy(), array, err_msg=name)
    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight
    again = load_pretrained(str(folder))
    assert again.vocabulary == expected.vocabulary
    for row in name_table(expected.config):
        ours = lookup(again.params, row.path)
        np.testing.assert_array_equal(ours, lookup(expected.params, row.path), err_msg=row.hf)
    return model.eval()


def features(model: Pretrained) -> Any:
    """A second of noise, as log-mel. [1, n_mels, 3000]."""
    extractor = transformers.WhisperFeatureExtractor(feature_size=model.config.n_mels)
    noise = np.random.default_rng(0).normal(size=16000).astype(np.float32)
    return extractor(noise, sampling_rate=16000, return_tensors="pt").input_features


def check_tokenizers(folder: Path, model: Pretrained) -> None:
    """All of transformers' ways to a tokenizer give ours."""
    processor = transformers.WhisperProcessor.from_pretrained(folder)
    auto = transformers.AutoProcessor.from_pretrained(folder)
    vocabulary = model.vocabulary
    assert type(auto) is type(processor)
    assert processor.feature_extractor.feature_size == model.config.n_mels
    text = " the other naïve words 12"
    for tokenizer in (processor.tokenizer, auto.tokenizer):
        assert len(tokenizer) == vocabulary.size
        ids = [vocabulary.start, *vocabulary.encode(text), vocabulary.first_timestamp, 0]
        assert tokenizer(text, add_special_tokens=False).input_ids == vocabulary.encode(text)
        assert tokenizer.decode(ids, skip_special_tokens=True) == vocabulary.decode(ids)
        ends = (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id)
        assert ends == (vocabulary.end,) * 3
        language = None if not vocabulary.is_multilingual else "de"
        tokenizer.set_prefix_tokens(language=language, task="transcribe" if language else None)
        assert tokenizer.prefix_tokens == vocabulary.prefix(language)


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(each, id=each.name, marks=pytest.mark.slow if each.name == "english" else ())
        for each in FAMILIES
    ],
)
def test_random_models_of_every_family(tmp_path, family):
    model = random_model(tmp_path, family)
    export(tmp_path / "export", model)
    theirs = in_torch(tmp_path / "export", model)
    check_tokenizers(tmp_path / "export", model)
    mel = features(model)
    options = {} if family is ENGLISH else {"language": "de", "task": "translate"}
    theirs.generate(mel, max_new_tokens=5, **options)
    theirs.generate(mel, max_new_tokens=5, return_timestamps=True, **options)
    times = theirs.generate(mel, max_new_tokens=5, return_token_timestamps=True, **options)
    assert times["token_timestamps"].isfinite().all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_weights(tmp_path, dtype):
    model = random_model(tmp_path, MULTILINGUAL)
    export(tmp_path / "export", model, dtype=dtype)
    theirs = transformers.WhisperForConditionalGeneration.from_pretrained(
        tmp_path / "export", dtype="auto"
    )
    assert theirs.dtype == getattr(torch, dtype)
    for name, array in to_state_dict(model.config, model.params).items():
        expected = torch.from_numpy(array.copy()).to(theirs.dtype)
        assert torch.equal(theirs.state_dict()[name], expected), name


def test_the_files_of_older_transformers_hold_the_same_tokenizer(tmp_path):
    model = random_model(tmp_path, MULTILINGUAL)
    export(tmp_path / "export", model)
    files = {p.name: p for p in (tmp_path / "export").iterdir() if p.name != "tokenizer.json"}
    old = make_vocabulary(
        read_tokenizer(files, "old"), model.generation_config, model.config.vocab_size, "old"
    )
    assert old.languages == model.vocabulary.languages
    assert old.encode(" the thing") == model.vocabulary.encode(" the thing")
    assert old.last_timestamp == model.vocabulary.last_timestamp
    config = json.loads(files["tokenizer_config.json"].read_text())
    assert len(config["added_tokens_decoder"]) == 107 + 1501


@pytest.mark.parametrize(
    "locations, kept",
    [(DEMO_TINY, [0, 2, 3]), (DEMO_BASE, [0, 5])],
)
@pytest.mark.slow
def test_students_of_real_models(tmp_path, locations, kept):
    teacher = real_model(locations)
    student = with_fewer_layers(teacher, kept)
    export(tmp_path, student)
    theirs = in_torch(tmp_path, student)
    check_tokenizers(tmp_path, student)
    mel = features(teacher)
    for options in ({}, {"return_timestamps": True}, {"return_token_timestamps": True}):
        theirs.generate(mel, max_new_tokens=8, **options)


@pytest.mark.shared_data
@pytest.mark.parametrize("locations", [DEMO_TINY, pytest.param(DEMO_BASE, marks=pytest.mark.slow)])
def test_a_real_clip_is_transcribed_from_the_exported_folder(tmp_path, locations, shared_data):
    """The language is left to be detected: the decoder must still be told its task."""
    import soundfile

    corpus = shared_data / "speech" / "en_asterisk"
    row = json.loads((corpus / "manifest.jsonl").read_text().splitlines()[0])
    samples, rate = soundfile.read(corpus / row["audio"])
    model = real_model(locations)
    export(tmp_path / "export", model)
    theirs = in_torch(tmp_path / "export", model)
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "export")
    mel = processor(samples, sampling_rate=rate, return_tensors="pt").input_features
    text = processor.batch_decode(theirs.generate(mel), skip_special_tokens=True)[0]
    assert text.split() == row["text"].split()
