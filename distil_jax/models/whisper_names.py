"""Each parameter of Whisper: its path here, its Hugging Face name, its logical axes."""

from distil_jax.models.names import Row, linear_rows, norm_rows


def _attention_rows(path: tuple[str, ...], hf: str) -> list[Row]:
    inward, outward = ("embed", "heads"), ("heads", "embed")
    return [
        *linear_rows((*path, "query"), f"{hf}.q_proj", inward),
        *linear_rows((*path, "key"), f"{hf}.k_proj", inward, bias=False),
        *linear_rows((*path, "value"), f"{hf}.v_proj", inward),
        *linear_rows((*path, "out"), f"{hf}.out_proj", outward),
    ]


def _block_rows(side: str) -> list[Row]:
    path, hf = (side, "blocks"), f"model.{side}.layers.{{i}}"
    rows = [
        *norm_rows((*path, "attention_norm"), f"{hf}.self_attn_layer_norm"),
        *_attention_rows((*path, "attention"), f"{hf}.self_attn"),
        *norm_rows((*path, "mlp_norm"), f"{hf}.final_layer_norm"),
        *linear_rows((*path, "mlp", "up"), f"{hf}.fc1", ("embed", "mlp")),
        *linear_rows((*path, "mlp", "down"), f"{hf}.fc2", ("mlp", "embed")),
    ]
    if side == "decoder":
        rows += norm_rows((*path, "cross_norm"), f"{hf}.encoder_attn_layer_norm")
        rows += _attention_rows((*path, "cross_attention"), f"{hf}.encoder_attn")
    return rows


def _conv_rows(name: str) -> list[Row]:
    return [
        Row(
            ("encoder", name, "kernel"),
            f"model.encoder.{name}.weight",
            (None, None, "embed"),
            (2, 1, 0),
        ),
        Row(("encoder", name, "bias"), f"model.encoder.{name}.bias", (None,)),
    ]


NAME_TABLE: tuple[Row, ...] = (
    *_conv_rows("conv1"),
    *_conv_rows("conv2"),
    Row(("encoder", "positions"), "model.encoder.embed_positions.weight", (None, "embed")),
    *_block_rows("encoder"),
    *norm_rows(("encoder", "norm"), "model.encoder.layer_norm"),
    Row(("decoder", "embedding"), "model.decoder.embed_tokens.weight", ("vocab", "embed")),
    Row(("decoder", "positions"), "model.decoder.embed_positions.weight", (None, "embed")),
    *_block_rows("decoder"),
    *norm_rows(("decoder", "norm"), "model.decoder.layer_norm"),
)
