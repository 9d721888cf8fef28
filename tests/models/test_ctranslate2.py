"""CTranslate2's model.bin: written here by its description, read back; damaged in many ways."""

import contextlib
import json
import struct
from hashlib import sha256

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from distil_jax.errors import UserError
from distil_jax.models.ctranslate2 import read_variables
from distil_jax.models.pretrained import load_pretrained, name_table, to_state_dict
from distil_jax.models.state_dict import lookup
from distil_jax.models.whisper import WhisperConfig, init
from tests.made_up import DEMO_BASE, DEMO_TINY, MULTILINGUAL, write_tokenizer

SMALL = WhisperConfig(
    d_model=4,
    encoder_layers=1,
    decoder_layers=2,
    encoder_heads=2,
    decoder_heads=2,
    encoder_ffn=6,
    decoder_ffn=6,
    vocab_size=11,
    n_mels=3,
    max_source_positions=5,
    max_target_positions=7,
)
TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")


def string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def write(path, variables, aliases=(), version=6, spec="WhisperSpec", revision=3):
    """A model.bin; variables: {name: array}, aliases: [(alias, name)]."""
    out = struct.pack("<I", version) + string(spec) + struct.pack("<II", revision, len(variables))
    for name, array in variables.items():
        out += string(name) + struct.pack("<B", array.ndim)
        out += struct.pack(f"<{array.ndim}I", *array.shape)
        out += struct.pack("<BI", TYPES.index(str(array.dtype)), array.nbytes) + array.tobytes()
    out += struct.pack("<I", len(aliases)) + b"".join(string(a) + string(n) for a, n in aliases)
    path.write_bytes(out)


def joined_layers(state, side):
    """The layers of one side under CTranslate2's names, q, k and v below each other."""
    layers = SMALL.encoder_layers if side == "encoder" else SMALL.decoder_layers
    for i in range(layers):
        theirs, ours = f"{side}/layer_{i}", f"model.{side}.layers.{i}"
        norms = {"self_attention": "self_attn_layer_norm", "ffn": "final_layer_norm"}
        joins = {"self_attention/linear_0": ("self_attn", "qkv")}
        joins["self_attention/linear_1"] = ("self_attn", "out")
        if side == "decoder":
            norms["attention"] = "encoder_attn_layer_norm"
            joins |= {
                f"attention/linear_{n}": ("encoder_attn", p) for n, p in enumerate(["q", "kv"])
            }
            joins["attention/linear_2"] = ("encoder_attn", "out")
        for name, hf in norms.items():
            yield f"{theirs}/{name}/layer_norm/gamma", state[f"{ours}.{hf}.weight"]
            yield f"{theirs}/{name}/layer_norm/beta", state[f"{ours}.{hf}.bias"]
        for name, (attention, parts) in joins.items():
            for feature in ("weight", "bias"):
                pieces = [
                    state.get(f"{ours}.{attention}.{part}_proj.{feature}", np.zeros(4, np.float32))
                    for part in ([parts] if parts == "out" else parts)
                ]
                yield f"{theirs}/{name}/{feature}", np.concatenate(pieces)
        for n in (1, 2):
            for feature in ("weight", "bias"):
                yield f"{theirs}/ffn/linear_{n - 1}/{feature}", state[f"{ours}.fc{n}.{feature}"]


def ctranslate2_variables(state):
    """All variables of a WhisperSpec."""
    variables = {
        "decoder/activation": np.int8(3),
        "decoder/alibi": np.int8(0),
        "decoder/alignment_heads": np.int16(1),
        "decoder/pre_norm": np.int8(1),
        "decoder/scale_embeddings": np.int8(0),
        "decoder/embeddings/weight": state["model.decoder.embed_tokens.weight"],
    }
    for side in ("encoder", "decoder"):
        variables[f"{side}/num_heads"] = np.int16(2)
        positions = state[f"model.{side}.embed_positions.weight"]
        variables[f"{side}/position_encodings/encodings"] = positions
        for feature, hf in (("gamma", "weight"), ("beta", "bias")):
            variables[f"{side}/layer_norm/{feature}"] = state[f"model.{side}.layer_norm.{hf}"]
        variables |= joined_layers(state, side)
    for conv in ("conv1", "conv2"):
        for feature in ("weight", "bias"):
            variables[f"encoder/{conv}/{feature}"] = state[f"model.encoder.{conv}.{feature}"]
    return variables


HEAD = [("decoder/projection/weight", "decoder/embeddings/weight")]


@pytest.fixture(scope="module")
def params():
    """Random parameters of a very small Whisper, none of them zero or one."""
    random = np.random.default_rng(0)
    state = init(SMALL)
    import jax

    return jax.tree.map(lambda a: random.normal(size=a.shape).astype(np.float32), state)


@pytest.fixture
def variables(params):
    return ctranslate2_variables(to_state_dict(SMALL, params))


def assert_equal(loaded, params, dtype=np.float32):
    for row in name_table(SMALL):
        expected = lookup(params, row.path).astype(dtype).astype(np.float32)
        np.testing.assert_array_equal(lookup(loaded, row.path), expected, err_msg=row.hf)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_floating_weights_come_in_exactly(tmp_path, params, variables, dtype):
    stored = {n: a.astype(dtype) if a.dtype == np.float32 else a for n, a in variables.items()}
    write(tmp_path / "model.bin", stored, HEAD)
    loaded = load_pretrained(str(tmp_path))
    assert loaded.config == SMALL
    assert_equal(loaded.params, params, dtype)


def test_quantised_weights_are_multiplied_out(tmp_path, variables):
    name = "encoder/layer_0/ffn/linear_0/weight"
    row_scale = 127 / np.abs(variables[name]).max(axis=1)
    table_scale = np.float32(1024 / np.abs(variables["decoder/embeddings/weight"]).max())
    stored = dict(variables)
    stored[name] = np.rint(variables[name] * row_scale[:, None]).astype(np.int8)
    stored[f"{name}_scale"] = row_scale.astype(np.float32)
    table = variables["decoder/embeddings/weight"]
    stored["decoder/embeddings/weight"] = np.rint(table * table_scale).astype(np.int16)
    stored["decoder/embeddings/weight_scale"] = table_scale
    write(tmp_path / "model.bin", stored, HEAD)
    params = load_pretrained(str(tmp_path)).params
    up = params["encoder"]["blocks"]["mlp"]["up"]["kernel"][0].T
    assert np.abs(up - variables[name]).max() < 0.51 / row_scale.min()
    assert np.abs(params["decoder"]["embedding"] - table).max() < 0.51 / table_scale
    del stored[f"{name}_scale"]
    write(tmp_path / "model.bin", stored, HEAD)
    with pytest.raises(UserError, match=r"linear_0/weight' is int8; expected.*_scale"):
        load_pretrained(str(tmp_path))


def test_parts_are_joined_in_the_order_of_their_numbers(tmp_path, params, variables):
    write(tmp_path / "model.bin", variables, HEAD)
    data = (tmp_path / "model.bin").read_bytes()
    (tmp_path / "model.bin").unlink()
    size = len(data) // 11 + 1
    folders = []
    for i in range(11):  # part10 follows part9, not part1
        folders.append(tmp_path / f"p{i}")
        folders[i].mkdir()
        (folders[i] / f"model.bin.part{i + 1}").write_bytes(data[i * size : (i + 1) * size])
    locations = [str(folder) for folder in reversed(folders)]
    loaded = load_pretrained(locations, sha256=sha256(data).hexdigest())
    assert_equal(loaded.params, params)
    assert loaded.fingerprint == sha256(data).hexdigest()
    with pytest.raises(UserError, match=r"model.bin.part11 is missing|part9 is missing"):
        load_pretrained([*locations[:2], *locations[3:]])


def test_config_json_becomes_the_generation_config(tmp_path, variables):
    write(tmp_path / "model.bin", variables, HEAD)
    values = {"alignment_heads": [[1, 0]], "lang_ids": [5], "suppress_ids": [1, 2]}
    (tmp_path / "config.json").write_text(json.dumps(values | {"suppress_ids_begin": [3]}))
    assert load_pretrained(str(tmp_path)).generation_config == {
        "alignment_heads": [[1, 0]],
        "suppress_tokens": [1, 2],
        "begin_suppress_tokens": [3],
    }


@pytest.mark.parametrize(
    "options, message",
    [
        ({"version": 5}, "at byte 4: expected binary version 6, got 5"),
        ({"spec": "TransformerSpec"}, "expected a model of spec WhisperSpec.*TransformerSpec"),
        ({"revision": 4}, "revision 3, got WhisperSpec revision 4"),
        ({"aliases": [("a", "nothing")]}, "alias 'a' of 'nothing'"),
    ],
)
def test_other_models_are_refused(tmp_path, variables, options, message):
    write(tmp_path / "model.bin", variables, **{"aliases": HEAD, **options})
    with pytest.raises(UserError, match=message):
        load_pretrained(str(tmp_path))


@pytest.mark.parametrize(
    "name, array, message",
    [
        ("decoder/pre_norm", np.int8(0), "'decoder/pre_norm' is 0; expected 1"),
        ("decoder/activation", np.int8(0), "'decoder/activation' is 0; expected 3"),
        ("encoder/num_heads", None, "encoder/num_heads"),
        ("decoder/embeddings/weight", None, "decoder.embed_tokens.weight"),
        ("encoder/conv1/bias", None, "1 are missing: model.encoder.conv1.bias"),
        ("encoder/conv1/bias", np.zeros(5, np.float32), r"got \[5\], expected \[4\]"),
        ("encoder/new/thing", np.zeros(5, np.float32), "1 are unexpected: encoder/new/thing"),
        ("encoder/layer_0/self_attention/linear_0/bias", np.ones(12, np.float32), "key bias"),
        ("encoder/layer_0/self_attention/linear_0/bias", np.ones(11, np.float32), "3 equal parts"),
        ("decoder/projection/weight", np.ones((11, 4), np.float32), "proj_out.weight differs"),
    ],
)
def test_wrong_contents_are_named(tmp_path, variables, name, array, message):
    variables.pop(name, None)
    if array is not None:
        variables[name] = array
    write(tmp_path / "model.bin", variables)
    with pytest.raises(UserError, match=message):
        load_pretrained(str(tmp_path))


def test_a_wrong_digest_is_found_before_anything_is_read(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"anything")
    with pytest.raises(UserError, match=r"sha256 is .*, but 00 was expected"):
        load_pretrained(str(tmp_path), sha256="00")


def test_every_truncation_is_a_clear_error(tmp_path, variables):
    path = tmp_path / "model.bin"
    write(path, variables, HEAD)
    data = path.read_bytes()
    cuts = [*range(0, 200), *range(200, len(data), 37), *range(len(data) - 60, len(data))]
    for cut in cuts:
        path.write_bytes(data[:cut])
        with pytest.raises(UserError, match=r"model\.bin: at byte \d+: expected"):
            read_variables([path])
    path.write_bytes(data + b"x")
    with pytest.raises(UserError, match="expected the end, got 1 more bytes"):
        read_variables([path])


@pytest.mark.slow
def test_damaged_bytes_never_end_in_another_error(tmp_path, variables):
    path = tmp_path / "model.bin"
    write(path, variables, HEAD)
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = np.frombuffer(data, np.uint8).copy()
        where = random.integers(len(data), size=3)
        damaged[where] = random.integers(256, size=3)
        path.write_bytes(damaged.tobytes())
        with contextlib.suppress(UserError):
            load_pretrained(str(tmp_path))


@pytest.mark.parametrize("quantization", ["float32", "float16", "bfloat16", "int8", "int16"])
def test_what_ctranslate2_itself_converts_comes_in(tmp_path, quantization):
    converters = pytest.importorskip("ctranslate2.converters", reason="ctranslate2 not installed")
    torch = pytest.importorskip("torch")
    from transformers import WhisperConfig as TheirConfig
    from transformers import WhisperForConditionalGeneration

    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(TheirConfig(**MULTILINGUAL.hf_config))
    model.save_pretrained(tmp_path / "theirs")
    write_tokenizer(tmp_path / "theirs", MULTILINGUAL)
    converter = converters.TransformersConverter(str(tmp_path / "theirs"))
    converter.convert(str(tmp_path / "converted"), quantization=quantization)
    loaded = load_pretrained(str(tmp_path / "converted"))
    ours = to_state_dict(loaded.config, loaded.params)
    tolerance = {"float32": 0, "float16": 1e-3, "bfloat16": 8e-3}.get(quantization, 0.02)
    for name, array in load_file(tmp_path / "theirs" / "model.safetensors").items():
        limit = tolerance * np.abs(array).max()
        assert np.abs(ours[name] - array).max() <= limit, name


@pytest.mark.parametrize(
    "locations, digest, layers",
    [
        (DEMO_TINY, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a", 4),
        (DEMO_BASE, "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9", 6),
    ],
)
def test_the_published_weights(locations, digest, layers):
    try:
        loaded = load_pretrained(locations, sha256=digest)
    except UserError as error:
        if "is installed here" not in str(error):
            raise
        pytest.skip(f"the demo packages are not installed: {error}")
    assert (loaded.config.encoder_layers, loaded.config.decoder_layers) == (layers, layers)
    assert isinstance(loaded.config, WhisperConfig)
    assert loaded.config.d_model // loaded.config.encoder_heads == 64
    assert loaded.fingerprint == digest
