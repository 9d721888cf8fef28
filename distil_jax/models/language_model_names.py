"""What a language model's parameters are called in a Hugging Face checkpoint (a Qwen3)."""

from distil_jax.models.names import Row, linear_rows


def _name_table() -> tuple[Row, ...]:
    layer = "model.layers.{i}"

    def scale(path: tuple[str, ...], hf: str) -> Row:
        return Row((*path, "scale"), f"{hf}.weight", (None,))

    block = ("blocks",)
    at, mlp = (*block, "attention"), (*block, "mlp")
    into, out = ("embed", "heads"), ("heads", "embed")
    rows = [
        Row(("embedding",), "model.embed_tokens.weight", ("vocab", "embed")),
        Row(("head",), "lm_head.weight", ("vocab", "embed")),
        scale(("norm",), "model.norm"),
        scale((*block, "attention_norm"), f"{layer}.input_layernorm"),
        scale((*block, "mlp_norm"), f"{layer}.post_attention_layernorm"),
        scale((*at, "query_norm"), f"{layer}.self_attn.q_norm"),
        scale((*at, "key_norm"), f"{layer}.self_attn.k_norm"),
        *linear_rows((*at, "query"), f"{layer}.self_attn.q_proj", into, bias=False),
        *linear_rows((*at, "key"), f"{layer}.self_attn.k_proj", into, bias=False),
        *linear_rows((*at, "value"), f"{layer}.self_attn.v_proj", into, bias=False),
        *linear_rows((*at, "out"), f"{layer}.self_attn.o_proj", out, bias=False),
        *linear_rows((*mlp, "gate"), f"{layer}.mlp.gate_proj", ("embed", "mlp"), bias=False),
        *linear_rows((*mlp, "up"), f"{layer}.mlp.up_proj", ("embed", "mlp"), bias=False),
        *linear_rows((*mlp, "down"), f"{layer}.mlp.down_proj", ("mlp", "embed"), bias=False),
    ]
    return tuple(rows)


NAME_TABLE = _name_table()
