"""What whisper.cpp calls the tensors of a Whisper: as OpenAI's own checkpoints do."""

import re

_ATTENTIONS = {"self_attn": "attn", "encoder_attn": "cross_attn"}
_PROJECTIONS = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}
_MODULES = {
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "final_layer_norm": "mlp_ln",
} | {
    f"{ours}.{projection}": f"{theirs}.{part}"
    for ours, theirs in _ATTENTIONS.items()
    for projection, part in _PROJECTIONS.items()
}
_OUTSIDE = {
    "encoder.conv1": "encoder.conv1",
    "encoder.conv2": "encoder.conv2",
    "encoder.layer_norm": "encoder.ln_post",
    "decoder.layer_norm": "decoder.ln",
}
_WHOLE_NAMES = {
    "model.encoder.embed_positions.weight": "encoder.positional_embedding",
    "model.decoder.embed_positions.weight": "decoder.positional_embedding",
    "model.decoder.embed_tokens.weight": "decoder.token_embedding.weight",
}
_HF_NAME = re.compile(r"model\.(encoder|decoder)\.layers\.(\d+)\.(.+)\.(weight|bias)")
_HF_OUTSIDE = re.compile(r"model\.(.+)\.(weight|bias)")


def openai_name(hf: str) -> str:
    """Of the tensor with this Hugging Face name. KeyError for one that no Whisper has."""
    if hf in _WHOLE_NAMES:
        return _WHOLE_NAMES[hf]
    if match := _HF_NAME.fullmatch(hf):
        side, layer, module, feature = match.groups()
        return f"{side}.blocks.{layer}.{_MODULES[module]}.{feature}"
    if match := _HF_OUTSIDE.fullmatch(hf):
        return f"{_OUTSIDE[match[1]]}.{match[2]}"
    raise KeyError(hf)
