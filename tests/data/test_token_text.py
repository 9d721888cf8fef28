"""Text cut into parts and windows, and its tokenizer."""

import numpy as np
import pytest

from distil_jax.data import token_text
from distil_jax.data.token_text import Windows, prepare, split, train_tokenizer
from distil_jax.errors import UserError


def lines(count: int, of: str = "line") -> str:
    return "".join(f"{of} {number} says über {number % 7}\n" for number in range(count))


def test_no_text_is_in_two_parts_and_none_is_lost():
    texts = [lines(40_000), lines(20_000, "other")]
    parts = split(texts)
    said = [line for blocks in parts.values() for block in blocks for line in block.splitlines()]
    assert sorted(said) == sorted("".join(texts).splitlines())
    sizes = {part: sum(map(len, blocks)) for part, blocks in parts.items()}
    assert sizes["teacher"] == pytest.approx(sizes["student"], rel=0.1)
    assert 0.02 < sizes["validation"] / sum(sizes.values()) < 0.1


def test_tokens_say_the_text(tmp_path):
    path = tmp_path / "some.txt"
    path.write_text(lines(9000), encoding="utf-8")
    made = prepare(tmp_path / "kept", [str(tmp_path)], 320)
    tokenizer = train_tokenizer(
        [split([lines(9000)])[part] for part in ("teacher", "student")], 320
    )
    for part, blocks in split([lines(9000)]).items():
        assert tokenizer.decode(made.tokens[part].tolist()) == "".join(blocks)
        assert made.tokens[part].dtype == np.uint16
    again = prepare(tmp_path / "kept", [str(path)], 320)
    assert (again.id, again.text_id) == (made.id, made.text_id)
    otherwise_cut = prepare(tmp_path / "cut", [str(path)], 321)
    assert otherwise_cut.id != made.id
    assert otherwise_cut.text_id == made.text_id
    with pytest.raises(UserError, match="tokens of another text or vocabulary"):
        prepare(tmp_path / "kept", [str(path)], 321)
    (tmp_path / "kept" / "tokens.safetensors").write_bytes(b"cut short")
    with pytest.raises(UserError, match="is damaged"):
        prepare(tmp_path / "kept", [str(path)], 320)


def test_bad_text_is_told(tmp_path):
    with pytest.raises(UserError, match=r"a folder without \.txt files"):
        prepare(tmp_path, [str(tmp_path)], 300)
    for bad in ("in two bytes".encode("utf-16"), b"\x00\x01\x02", b"\x81\x8d"):
        (tmp_path / "bad.txt").write_bytes(bad)
        with pytest.raises(UserError, match=r"bad\.txt is no plain text: neither UTF-8 nor Win"):
            prepare(tmp_path, [str(tmp_path)], 300)
    (tmp_path / "bad.txt").write_text("short")
    with pytest.raises(UserError, match="the text is too short: 5 characters"):
        prepare(tmp_path, [str(tmp_path)], 300)


def test_older_encodings_are_read_and_told(tmp_path, caplog):
    for name, encoding in (("new", "utf-8"), ("marked", "utf-8-sig"), ("old", "latin-1")):
        (tmp_path / f"{name}.txt").write_bytes(("déjà vu\n" * 9000).encode(encoding))
    said = [prepare(tmp_path / n, [str(tmp_path / f"{n}.txt")], 300) for n in ("new", "marked")]
    assert not caplog.records
    said.append(prepare(tmp_path / "old", [str(tmp_path / "old.txt")], 300))
    assert len({each.id for each in said}) == len({each.text_id for each in said}) == 1
    assert "old.txt is not UTF-8: read as Windows-1252" in caplog.text


def test_an_epoch_has_every_window_once():
    tokens = np.arange(101, dtype=np.uint16)
    windows = Windows(tokens, context=10, batch_size=5, seed=3)
    batches = [next(windows) for _ in range(4)]
    for epoch in (batches[:2], batches[2:]):
        starts = np.concatenate(epoch)[:, 0]
        assert sorted(starts) == list(range(0, 100, 10))
    np.testing.assert_array_equal(batches[0], batches[0][:, :1] + np.arange(11))
    assert (np.concatenate(batches[:2]) != np.concatenate(batches[2:])).any()


def test_windows_go_on_where_they_were():
    tokens = np.arange(1000, dtype=np.uint16)
    one, other = (Windows(tokens, 10, 7, seed=0) for _ in range(2))
    for _ in range(20):
        next(one)
    other.set_state(one.get_state())
    np.testing.assert_array_equal(next(one), next(other))


def test_once_keeps_to_whole_batches():
    assert sum(map(len, Windows(np.arange(71), 10, 3, 0).once())) == 6
    assert sum(map(len, Windows(np.arange(21), 10, 3, 0).once())) == 2
    with pytest.raises(UserError, match="no window of 10 and one"):
        Windows(np.arange(10), 10, 3, 0)


def test_a_block_ends_with_a_line():
    blocks = list(token_text._blocks(lines(3000)))
    assert len(blocks) > 2
    assert all(block.endswith("\n") for block in blocks)
