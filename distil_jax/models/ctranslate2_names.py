"""What CTranslate2 calls the tensors of a Whisper: one table, read in both directions.

A variable of theirs is one tensor of a Hugging Face state dict, or several joined: the rows of an
attention's query, key and value stand below each other.
"""

import re

KEY_BIAS = "k_proj.bias"  # Whisper has none; theirs has zeros in its place
EMBEDDING, HEAD = "decoder/embeddings/weight", "decoder/projection/weight"
_FEATURES = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
_NORM_FEATURES = {"weight": "gamma", "bias": "beta"}
_MODULES = {
    "conv1": "conv1",
    "conv2": "conv2",
    "layer_norm": "layer_norm",
    "self_attention/layer_norm": "self_attn_layer_norm",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
_ATTENTIONS = {
    "self_attention/linear_0": ("self_attn", ("q_proj", "k_proj", "v_proj")),
    "self_attention/linear_1": ("self_attn", ("out_proj",)),
    "attention/linear_0": ("encoder_attn", ("q_proj",)),
    "attention/linear_1": ("encoder_attn", ("k_proj", "v_proj")),
    "attention/linear_2": ("encoder_attn", ("out_proj",)),
}
_WHOLE_NAMES = {
    "encoder/position_encodings/encodings": "model.encoder.embed_positions.weight",
    "decoder/position_encodings/encodings": "model.decoder.embed_positions.weight",
    EMBEDDING: "model.decoder.embed_tokens.weight",
    HEAD: "proj_out.weight",
}
_HF_MODULES = {ours: theirs for theirs, ours in _MODULES.items()} | {
    f"{attention}.{projection}": theirs
    for theirs, (attention, projections) in _ATTENTIONS.items()
    for projection in projections
}
_HF_WHOLE_NAMES = {ours: theirs for theirs, ours in _WHOLE_NAMES.items()}
_THEIR_NAME = re.compile(r"(encoder|decoder)/(?:layer_(\d+)/)?(.+)/([a-z]+)")
_HF_NAME = re.compile(r"model\.(encoder|decoder)\.(?:layers\.(\d+)\.)?(.+)\.(weight|bias)")


def hf_names(variable: str) -> tuple[str, ...]:
    """The Hugging Face names of the tensors that a variable holds, in the order of its rows.

    A name that no Whisper has comes back as it is.
    """
    if variable in _WHOLE_NAMES:
        return (_WHOLE_NAMES[variable],)
    match = _THEIR_NAME.fullmatch(variable)
    side, layer, module, feature = match.groups() if match else ("", None, "", "")
    prefix = f"model.{side}." + (f"layers.{layer}." if layer is not None else "")
    feature = _FEATURES.get(feature, feature)
    if module in _ATTENTIONS:
        attention, projections = _ATTENTIONS[module]
        return tuple(f"{prefix}{attention}.{each}.{feature}" for each in projections)
    if module in _MODULES:
        return (f"{prefix}{_MODULES[module]}.{feature}",)
    return (variable,)


def variable_name(hf: str) -> str:
    """The variable that holds a tensor, alone or with others. KeyError where no Whisper has it."""
    if hf in _HF_WHOLE_NAMES:
        return _HF_WHOLE_NAMES[hf]
    match = _HF_NAME.fullmatch(hf)
    if match is None:
        raise KeyError(hf)
    side, layer, module, feature = match.groups()
    theirs = _HF_MODULES[module]
    prefix = f"{side}/" + (f"layer_{layer}/" if layer is not None else "")
    return f"{prefix}{theirs}/{_NORM_FEATURES[feature] if theirs.endswith('norm') else feature}"
