"""Hugging Face folders of every family come in exactly; broken ones are named."""

import json
import shutil

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from distil_jax.errors import UserError
from distil_jax.models.pretrained import load_pretrained, name_table, to_state_dict
from distil_jax.models.state_dict import lookup
from tests.made_up import (
    ENGLISH,
    FAMILIES,
    MULTILINGUAL,
    TURBO,
    write_generation_config,
    write_tokenizer,
)


def torch_model(family):
    """A random transformers model of the family, in PyTorch."""
    torch = pytest.importorskip("torch")
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig(**family.hf_config))
    with torch.no_grad():  # biases and norms start at 0 and 1, which hides mistakes
        for parameter in model.parameters():
            parameter.normal_()
    return model


@pytest.fixture
def folder(tmp_path):
    """A small multilingual model, written by transformers."""
    torch_model(MULTILINGUAL).save_pretrained(tmp_path)
    return tmp_path


def change(folder, **tensors):
    """Rewrite the weights: an array replaces, None removes; `__` stands for a dot."""
    path = folder / "model.safetensors"
    state = load_file(path)
    for name, array in tensors.items():
        name = name.replace("__", ".")
        state.pop(name, None)
        if array is not None:
            state[name] = array
    save_file(state, path, {"format": "pt"})


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_tensor_of_every_family_goes_both_ways(tmp_path, family):
    model = torch_model(family)
    model.save_pretrained(tmp_path)
    loaded = load_pretrained(str(tmp_path))
    theirs = {name: value.numpy() for name, value in model.state_dict().items()}
    theirs.pop("proj_out.weight")
    ours = to_state_dict(loaded.config, loaded.params)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)
    assert loaded.config.to_hf().items() <= model.config.to_dict().items()


def test_linear_and_convolution_kernels_are_turned(folder):
    loaded, state = load_pretrained(str(folder)), load_file(folder / "model.safetensors")
    query = lookup(loaded.params, ("decoder", "blocks", "cross_attention", "query", "kernel"))
    assert query.shape == (3, 16, 16)
    np.testing.assert_array_equal(
        query[2], state["model.decoder.layers.2.encoder_attn.q_proj.weight"].T
    )
    kernel = lookup(loaded.params, ("encoder", "conv1", "kernel"))
    np.testing.assert_array_equal(kernel[0], state["model.encoder.conv1.weight"][:, :, 0].T)
    assert kernel.shape == (3, 80, 16)


def test_the_name_table_names_every_parameter_once(folder):
    loaded = load_pretrained(str(folder))
    table = name_table(loaded.config)
    assert len({row.path for row in table}) == len({row.hf for row in table}) == len(table)
    for row in table:
        assert lookup(loaded.params, row.path).ndim == len(row.axes) + row.stacked


@pytest.mark.parametrize("stored", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("wanted", ["float32", "float16", "bfloat16"])
def test_half_precision_is_read_and_made(folder, stored, wanted):
    path = folder / "model.safetensors"
    state = {name: array.astype(stored) for name, array in load_file(path).items()}
    save_file(state, path)
    table = load_pretrained(str(folder), dtype=wanted).params["decoder"]["embedding"]
    expected = state["model.decoder.embed_tokens.weight"].astype(table.dtype)
    assert str(table.dtype) == wanted
    np.testing.assert_array_equal(table, expected)


def test_shards_are_joined(tmp_path):
    torch_model(TURBO).save_pretrained(tmp_path / "whole")
    torch_model(TURBO).save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    whole, shards = (load_pretrained(str(tmp_path / name)) for name in ("whole", "shards"))
    assert not (tmp_path / "shards" / "model.safetensors").exists()
    for row in name_table(whole.config):
        np.testing.assert_array_equal(
            lookup(whole.params, row.path), lookup(shards.params, row.path)
        )
    next(iter((tmp_path / "shards").glob("model-00002-*"))).unlink()
    with pytest.raises(UserError, match="missing: model-00002"):
        load_pretrained(str(tmp_path / "shards"))


def test_a_head_stored_twice_is_accepted_only_when_tied(folder):
    state = load_file(folder / "model.safetensors")
    embedding = state["model.decoder.embed_tokens.weight"]
    change(folder, proj_out__weight=embedding)
    load_pretrained(str(folder))
    change(folder, proj_out__weight=embedding + 1)
    with pytest.raises(UserError, match=r"proj_out.weight differs"):
        load_pretrained(str(folder))


def test_wrong_tensors_are_listed_with_their_shapes(folder):
    change(
        folder,
        model__encoder__conv1__bias=np.zeros(17, np.float32),
        model__decoder__layer_norm__bias=None,
        surplus=np.zeros(1, np.float32),
    )
    with pytest.raises(UserError) as error:
        load_pretrained(str(folder))
    for part in (
        "1 are missing: model.decoder.layer_norm.bias",
        "1 are unexpected: surplus",
        "model.encoder.conv1.bias (got [17], expected [16])",
    ):
        assert part in str(error.value)


def test_a_config_with_fewer_layers_than_the_weights_is_refused(folder):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"decoder_layers": 2}))
    with pytest.raises(UserError, match=r"24 are unexpected: model.decoder.layers.2"):
        load_pretrained(str(folder))


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("config.json", '{"model_type": "bert"}', "model_type 'bert'.*whisper"),
        ("config.json", '{"model_type": "whisper"}', "config.json lacks"),
        ("config.json", "{", "not valid JSON"),
        ("config.json", "[]", "expected a JSON object, got list"),
        ("model.safetensors", "{}", "not a usable safetensors file"),
        ("model.safetensors", None, "no weights.*got config.json, generation_config.json"),
    ],
)
def test_broken_folders_are_named(folder, name, text, message):
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(UserError, match=message):
        load_pretrained(str(folder))


def test_the_digest_is_checked_and_returned(folder):
    loaded = load_pretrained(str(folder))
    assert load_pretrained(str(folder), sha256=loaded.fingerprint.upper()).fingerprint
    with pytest.raises(UserError, match=f"sha256 is {loaded.fingerprint}, but 00"):
        load_pretrained(str(folder), sha256="00")


def test_the_vocabulary_comes_with_the_folder_or_is_asked_for(folder):
    with pytest.raises(UserError, match="no tokenizer"):
        _ = load_pretrained(str(folder)).vocabulary
    write_tokenizer(folder, MULTILINGUAL)
    write_generation_config(folder, MULTILINGUAL)
    loaded = load_pretrained(str(folder))
    assert loaded.vocabulary.suppress == (1, 2, 7)
    assert loaded.generation_config["alignment_heads"] == [[0, 1], [2, 0]]


def test_suppressed_tokens_of_models_without_generation_config(tmp_path):
    torch_model(ENGLISH).save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"suppress_tokens": [3, 4]}))
    (tmp_path / "generation_config.json").unlink()
    write_tokenizer(tmp_path, ENGLISH)
    vocabulary = load_pretrained(str(tmp_path)).vocabulary
    assert (vocabulary.suppress, vocabulary.is_multilingual) == ((3, 4), False)


def test_files_may_lie_in_several_folders(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    shutil.move(folder / "model.safetensors", other)
    assert load_pretrained([str(folder), str(other)]).config.n_mels == 80
    shutil.copy(other / "model.safetensors", folder)
    with pytest.raises(UserError, match=r"two files called model.safetensors"):
        load_pretrained([str(folder), str(other)])


def test_a_hub_id_that_cannot_be_had_says_so(monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    asked = {}

    def refuse(hub_id, **options):
        asked.update(options, id=hub_id)
        raise ConnectionError("no network\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(UserError, match=r"'who/what'.*revision v1.*no network\)") as error:
        load_pretrained("who/what", revision="v1")
    assert "hf download who/what" in str(error.value)
    assert asked["id"] == "who/what"
    assert asked["revision"] == "v1"


def test_a_hub_id_is_loaded_from_the_folder_it_is_downloaded_to(folder, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(folder))
    assert load_pretrained("who/what").source == "who/what"
