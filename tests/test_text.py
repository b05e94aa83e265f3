"""Text: tokenizers, whose round trip is exact and whose tables may come from anybody, windows of
tokens, files of text, and the plays that ship with the package.
"""

import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinygan import data, device, train
from tinygan.capture import capture
from tinygan.data import BytePairs, Bytes, Characters, DataError, Windows, held_out
from tinygan.data.tokens import PIECES

TEXT = "the cat and the hat, the theme of them all: 2024 cats, 2025 hats.\n\nThe  end…\n" * 3
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.text("the \n12.é")
PAIRS = BytePairs.train(TEXT, 300)
ROW = np.arange(200)


def refused(call, *parts):
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and all(str(part) in message for part in parts), message


# Tokenizers


@given(TEXTS)
def test_what_is_encoded_is_decoded(text):
    for tokens in (Characters.of(text or "a"), Bytes(), PAIRS):
        ids = tokens.encode(text)
        assert ids.dtype == np.int32 and ids.ndim == 1 and len(ids) <= len(text.encode())
        assert tokens.decode(ids) == tokens.decode(ids.tolist()) == text
        assert not len(ids) or 0 <= ids.min() <= ids.max() < len(tokens)


@given(TEXTS, st.lists(st.integers(0, 299), max_size=20))
def test_a_tokenizer_is_made_again_of_its_words(text, ids):
    for tokens in (Characters.of(TEXT), Bytes(), PAIRS):
        again = data.tokenizer(json.loads(json.dumps(tokens.words())))
        assert type(again) is type(tokens) and len(again) == len(tokens)
        some = [i % len(tokens) for i in ids]  # of a model: any, and no UTF-8 perhaps
        assert again.decode(some) == tokens.decode(some)
    assert np.array_equal(data.tokenizer(PAIRS.words()).encode(text), PAIRS.encode(text))


def test_what_is_no_utf_8_is_shown_as_such():
    assert Bytes().decode([0x61, 0xC3, 0xFF]) == PAIRS.decode([0x61, 0xC3, 0xFF]) == "a\ufffd\ufffd"


def test_characters_are_numbered_in_the_order_of_their_string():
    assert Characters("cab").encode("abc").tolist() == [1, 2, 0]
    assert Characters("cab").decode([0, 1, 1]) == "caa"
    assert Characters.of("banana\n").characters == "\nabn"


def slowly(text, size):
    """Byte pairs as the papers have them: all counted anew for each merge; and the text in them."""
    words, merges = [list(piece.encode()) for piece in PIECES.findall(text)], []
    while 256 + len(merges) < size:
        counts = Counter(pair for word in words for pair in zip(word, word[1:]))
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < 2:
            break
        for word in words:
            i = 0
            while i < len(word) - 1:
                if (word[i], word[i + 1]) == best:
                    word[i : i + 2] = [256 + len(merges)]
                i += 1
        merges.append(best)
    return merges, [i for word in words for i in word]


@given(st.text("ab é,1\n", max_size=80), st.integers(256, 270))
@example(data.text()[20_000:22_000], 2000)  # until no pair is there twice
def test_byte_pairs_merge_the_pair_that_is_there_most_often(text, size):
    learnt = BytePairs.train(text, size)
    assert (learnt.merges, learnt.encode(text).tolist()) == slowly(text, size)
    assert len(learnt) == 256 + len(learnt.merges) <= size


def test_a_vocabulary_has_a_bound(monkeypatch):
    monkeypatch.setattr("tinygan.data.tokens.MOST", len(PAIRS))
    assert len(data.tokenizer(PAIRS.words())) == len(PAIRS)
    monkeypatch.setattr("tinygan.data.tokens.MOST", len(PAIRS) - 1)
    refused(lambda: data.tokenizer(PAIRS.words()), f"at most {len(PAIRS) - 257} pairs")
    refused(lambda: BytePairs.train(TEXT, len(PAIRS)), f"256 to {len(PAIRS) - 1}")


def test_pieces_are_words_with_the_space_before_them():
    text = " the cat's 2nd_x,  end.\n\n  So\t"
    expected = [" the", " cat", "'", "s", " 2", "nd", "_", "x", ",", " ", " end", ".", "\n\n "]
    assert PIECES.findall(text) == [*expected, " So", "\t"]
    assert PIECES.findall("a" * 70 + "\n" * 70) == ["a" * 32, "a" * 32, "a" * 6] + [
        "\n" * 32, "\n" * 32, "\n" * 6
    ]  # fmt: skip
    learnt = BytePairs.train("the theme, the end " * 9, 280)
    assert not {" the t", "e,"} & {learnt.decode([i]) for i in range(len(learnt))}
    assert " the" in {learnt.decode([i]) for i in range(len(learnt))}


@given(TEXTS)
def test_every_sign_of_a_text_is_in_a_piece(text):
    assert "".join(PIECES.findall(text)) == text


def test_pieces_are_remembered_within_bounds(monkeypatch):
    monkeypatch.setattr("tinygan.data.tokens.CACHE", 5)
    tokens = BytePairs(PAIRS.merges)
    for _ in range(3):
        assert np.array_equal(tokens.encode(TEXT), PAIRS.encode(TEXT))
        assert np.array_equal(tokens.encode("the hat"), PAIRS.encode("the hat"))
        assert len(tokens._known) <= 20


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Characters("abc").encode("abxa"), ["character 2, 'x'", "Characters.of"]),
        (lambda: Characters("abc").encode("a\nb"), ["character 1, '\\n'"]),
        (lambda: Characters("abc").decode([0, 3]), ["no token 3", "from 0 to 2"]),
        (lambda: Characters("abc").decode([-1]), ["no token -1"]),
        (lambda: Bytes().decode([256]), ["no token 256"]),
        (lambda: Bytes().decode([[1]]), ["(1, 1)", "one by one"]),
        (lambda: Bytes().decode([1.0]), ["float64"]),
        (lambda: PAIRS.decode([len(PAIRS)]), ["no token"]),
        (lambda: Characters("aba"), ["'aba'", "each once"]),
        (lambda: Characters(""), ["''"]),
        (lambda: Characters.of(""), ["''"]),
        (lambda: Characters("a\ud800"), ["character 1", "surrogate"]),
        (lambda: Bytes().encode("a\ud800"), ["character 1", "surrogate"]),
        (lambda: PAIRS.encode("a\ud800"), ["character 1", "surrogate"]),
        (lambda: BytePairs.train("a\ud800", 256), ["character 1", "surrogate"]),
        (lambda: Bytes().encode(b"a"), ["a string, got bytes"]),
        (lambda: BytePairs.train("a", 255), ["size is 255", "256 to"]),
        (lambda: BytePairs.train("a", 300.0), ["size is 300.0"]),
    ],
)
def test_what_has_no_tokens_is_refused(call, words):
    refused(call, *words)


@pytest.mark.parametrize(
    "words",
    [
        None,
        [],
        {},
        {"kind": "words"},
        {"kind": ["bytes"]},
        {"kind": "bytes", "merges": []},
        {"kind": "pairs"},
        {"kind": "pairs", "merges": {}},
        {"kind": "pairs", "merges": [[97, 98]]},
        {"kind": "pairs", "merges": "ab"},
        {"kind": "pairs", "merges": "97"},
        {"kind": "pairs", "merges": "97 98,"},
        {"kind": "pairs", "merges": "97 98,97 98"},
        {"kind": "pairs", "merges": "97 256"},
        {"kind": "pairs", "merges": "97 -1"},
        {"kind": "pairs", "merges": "97 98.0"},
        {"kind": "pairs", "merges": "9" * 9999 + " 1"},
        {"kind": "pairs", "merges": "97 97" + "".join(f",{i} {i}" for i in range(256, 270))},
        {"kind": "characters", "characters": ["a", "b"]},
        {"kind": "characters", "characters": "aa"},
        {"kind": "characters", "characters": "\n" * 999},
        {"kind": "characters", "characters": "\ud800"},
    ],
    ids=lambda words: ascii(words)[:60],
)
def test_words_of_no_tokenizer_are_refused(words):
    refused(lambda: data.tokenizer(words))


# Windows


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 40), st.integers(0, 9))
def test_an_epoch_of_windows_has_every_token_once(length, batch_size, more, epoch):
    n = length * (batch_size + 1) + more
    windows = Windows(np.arange(n), length, batch_size, seed=3)
    starts = [windows.rows(epoch, i) for i in range(len(windows))]
    for i, batch in enumerate(windows.epoch(epoch)):
        assert batch.shape == (batch_size, length + 1)
        assert np.array_equal(batch, starts[i][:, None] + np.arange(length + 1))
    starts = np.concatenate(starts)
    assert len(set(starts.tolist())) == len(starts) == len(windows) * batch_size
    assert len(set((starts % length).tolist())) == 1  # one phase, and no gap but at the ends
    assert n - len(starts) * length <= length * (batch_size + 1)  # the rest fills no batch
    assert starts.min() >= 0 and starts.max() + length < n


def test_windows_begin_elsewhere_in_another_order_every_epoch():
    windows, again = Windows(np.arange(1000), 16, 4, seed=5), Windows(np.arange(1000), 16, 4, 5)
    starts = [np.concatenate([windows.rows(e, i) for i in range(len(windows))]) for e in range(40)]
    phases = {int(rows[0]) % 16 for rows in starts}
    assert len(phases) > 12 and {0, 15} <= phases and len({tuple(rows) for rows in starts}) == 40
    assert np.array_equal(again.rows(7, 3), starts[7][12:16])  # a pure function of its arguments
    assert np.array_equal(again.batch(0, 0), next(iter(windows)))
    assert not np.array_equal(Windows(np.arange(1000), 16, 4, 6).rows(0, 0), starts[0][:4])
    with pytest.raises(IndexError, match=r"Windows: batch 15 .* has 15"):
        windows.batch(0, 15)


def test_batches_of_windows_are_int32_where_that_holds_them(tmp_path):
    np.arange(100, dtype=np.uint16).tofile(tmp_path / "train.bin")  # as nanoGPT keeps its tokens
    mapped = np.memmap(tmp_path / "train.bin", np.uint16)
    kinds = {np.uint8: np.int32, np.uint16: np.int32, np.uint32: np.int64, np.int64: np.int64}
    for given_as, expected in kinds.items():
        row = mapped if given_as == np.uint16 else np.arange(100, dtype=given_as)
        batch = Windows(row, 8, 2).batch(0, 0)
        assert batch.dtype == expected and np.array_equal(
            batch, Windows(ROW[:100], 8, 2).batch(0, 0)
        )


def test_identity_of_windows_is_of_all_they_depend_on():
    own = Windows(np.arange(100), 8, 2).identity()
    assert json.loads(json.dumps(own)) == own == Windows(np.arange(100), 8, 2).identity()
    others = [Windows(ROW[:100] + 1, 8, 2), Windows(ROW[:100], 9, 2), Windows(ROW[:100], 8, 3)]
    others.append(Windows(ROW[:100], 8, 2, 1))
    assert all(own != other.identity() for other in others)


def test_the_loop_trains_on_windows():
    class Mean:
        optimizers = ()

        def step(self, tokens):
            return {"mean": tokens[:, 1:].mean(dtype=np.float32)}

    windows = Windows(np.arange(100), 8, 2, seed=1)
    found = [r["mean"] for part in train.loop(Mean(), windows, 2) for r in part]
    expected = [windows.batch(e, i)[:, 1:].mean() for e in range(2) for i in range(len(windows))]
    assert np.allclose(found, expected)


def test_windows_on_a_gpu_are_gathered_there_in_a_captured_step(gpu, recwarn):
    windows = Windows(device.to(np.arange(200, dtype=np.int32), "gpu"), 8, 3, seed=1)
    step, plain = capture(lambda rows: windows.at(rows) + 1), Windows(ROW, 8, 3, seed=1)
    for e in range(2):
        for i in range(len(windows)):
            rows = windows.rows(e, i)
            assert device.of(rows) == "gpu"
            assert np.array_equal(device.to_host(step(rows)), plain.batch(e, i) + 1)
    assert not recwarn.list  # that it could not be captured


def test_what_is_held_out_is_the_end():
    learnt, unseen = held_out(ROW[:100])
    assert learnt.tolist() == [*range(90)] and unseen.tolist() == [*range(90, 100)]
    assert np.shares_memory(learnt, ROW) and np.shares_memory(unseen, ROW)
    assert [len(part) for part in held_out(ROW[:100], 0.25)] == [75, 25]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Windows(np.arange(23), 8, 2), ["need 24 tokens, got 23"]),
        (lambda: Windows(np.arange(24.0), 8, 2), ["Windows: tokens must", "(24,) float64"]),
        (lambda: Windows(np.arange(24) > 2, 8, 2), ["(24,) bool"]),
        (lambda: Windows(np.zeros((24, 2), int), 8, 2), ["(24, 2) int64"]),
        (lambda: Windows("a text", 8, 2), ["Windows: tokens is str"]),
        (lambda: Windows(ROW[:100], 0, 2), ["length is 0"]),
        (lambda: Windows(ROW[:100], 1.5, 2), ["length is 1.5"]),
        (lambda: Windows(ROW[:100], 8, 0), ["batch_size is 0"]),
        (lambda: held_out(ROW[:100], 0), ["share of 0 "]),
        (lambda: held_out(ROW[:100], 1), ["share of 1 "]),
        (lambda: held_out(ROW[:100], float("nan")), ["share of nan"]),
        (lambda: held_out(np.arange(2), 0.6), ["leaves a part with none"]),
        (lambda: held_out(np.arange(4.0)), ["held_out: tokens must"]),
    ],
)
def test_what_has_no_windows_is_refused(call, words):
    refused(call, *words)


def test_windows_refuse_what_is_no_seed():
    with pytest.raises(ValueError, match="seed must be"):
        Windows(ROW[:100], 8, 2, seed=-1)


# Files of text, and plays


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1))
def test_a_file_is_its_text(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "text"  # one for all examples
    for pack in (bytes, gzip.compress):
        path.write_bytes(pack(text.encode()))
        assert data.text(path) == text.removeprefix("\ufeff")


def test_lines_end_in_a_newline_and_no_byte_order_mark_stays(tmp_path):
    (tmp_path / "a").write_bytes("\ufeffone\r\ntwo\rthree\n\r\n\ufeff".encode())
    assert data.text(tmp_path / "a") == "one\ntwo\nthree\n\n\ufeff"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["is empty"]),
        (gzip.compress(b""), ["is empty"]),
        ("\ufeff".encode(), ["is empty"]),
        (b"abc\xff\xfe", ["byte 3, 0xff, is no UTF-8"]),
        ("\ufeffab".encode() + b"\x80", ["byte 5, 0x80"]),
        ("ab".encode("utf-16-le"), ["byte 1 is 0", "UTF-8"]),
        (gzip.compress(b"abc")[:-9], ["damaged gzip"]),
        (b"a" * 101, ["more than the 100 bytes"]),
        (gzip.compress(b"a" * 101), ["more than the 100 bytes"]),
    ],
    ids=range(9),  # gzip holds the time: the processes of pytest -n 2 must call a test alike
)
def test_what_is_no_text_is_refused(tmp_path, content, words):
    path = tmp_path / "file"
    refused(lambda: data.text(path), path, "No such file")
    refused(lambda: data.text(tmp_path), tmp_path, "not a regular file")
    path.write_bytes(content)
    refused(lambda: data.text(path, limit=100), path, *words)
    path.write_bytes(b"a" * 100)
    assert len(data.text(path, limit=100)) == 100


def test_speeches_are_those_of_the_plays():
    first = "First Citizen:\nBefore we go,\nhear me.\n\nAll:\nSpeak: speak.\n\nNOBODY:\n"
    plays = f"{first}\n= One = two =\n\nlost\n\nA:\na\n\n\nb:c\n\n= Three =\n\nB:\nb\n"
    speeches = data.speeches(plays)
    assert speeches == [
        ("", "First Citizen", "Before we go,\nhear me."),
        ("", "All", "Speak: speak."),
        ("One = two", "A", "a\n\nb:c"),
        ("Three", "B", "b"),
    ]
    assert speeches[2].speaker == "A" and data.speeches(first + "\nlate") == [
        *speeches[:2], ("", "NOBODY", "late")
    ]  # fmt: skip
    assert data.speeches("") == data.speeches("no play\n\nat all") == []


def test_the_bundled_plays_are_what_their_origin_says():
    books = Path(data.__file__).parent / "books"
    origin = (books / "ORIGIN.md").read_text(encoding="utf-8")
    packed, text = (books / "shakespeare.txt.gz").read_bytes(), data.text()
    for content in (packed, text.encode()):
        assert f"{len(content):,} | `{hashlib.sha256(content).hexdigest()}`" in origin
    speeches = data.speeches(text)
    for n, what in (
        (len(speeches), "speeches"),
        (text.count("\n"), "lines"),
        (len(set(text)), "different characters"),
    ):
        assert f"{n:,} {what}" in " ".join(origin.split())
    plays = Counter(speech.play for speech in speeches)
    assert len(plays) == 8 == text.count(" =\n") and min(plays.values()) > 500
    for play in plays:
        assert play in " ".join(origin.split()) and text.count(f"= {play} =\n") == 1
    speakers = {speech.speaker for speech in speeches}
    assert {"HAMLET", "PUCK", "LADY MACBETH", "SIR TOBY"} <= speakers
    assert all(
        name.replace(" and ", "").replace(" ", "").replace("'", "").isupper() for name in speakers
    )
    again, play = [], None
    for speech in speeches:  # nothing is lost
        again += [f"= {speech.play} =\n"] if speech.play != play else []
        again.append(f"{speech.speaker}:\n{speech.words}\n")
        play = speech.play
    assert "\n".join(again) == text


def test_the_bundled_plays_are_read_learnt_and_cut_in_seconds():
    text = data.text()
    tokens = BytePairs.train(text[:100_000], 400)
    ids = tokens.encode(text)
    assert tokens.decode(ids) == text and len(ids) < 0.6 * len(text)
    learnt, unseen = held_out(Characters.of(text).encode(text))
    batch = Windows(learnt, 64, 12).batch(0, 0)
    assert batch.shape == (12, 65) and len(learnt) == int(0.9 * len(text))
    assert Characters.of(text).decode(batch[0]) in text
