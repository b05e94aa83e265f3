"""Text as whole numbers and back: characters, bytes, or byte pairs that are learnt here.

Three tokenizers with one face: `encode` a string, `decode` numbers, `len`, and `words()`, which
JSON holds and of which `tokenizer` makes the same again. Numbers that a model needs besides (a
mask, an end of text) it counts from `len` on. This file knows no files, batches or models.
"""

import heapq
import re
from collections import Counter, defaultdict
from itertools import chain

import numpy as np

from ..device import is_array, to_host
from .idx import DataError

MOST = 1 << 18  # tokens of a vocabulary
LONGEST = 256  # bytes of a token: a table of pairs may come from anybody, and each can double them
CACHE = 1 << 17  # pieces of text whose tokens are remembered
NEVER = 1 << 62  # the rank of a pair that is not merged

# The pieces of which pairs are counted and merged, so that no token spans two words: letters, or
# digits, or other signs, each with one space before them, and white space. A run is cut at 32, so
# that no text takes longer than its length asks for. Which signs are letters Python's `re` says.
PIECES = re.compile(
    r" ?[^\W\d_]{1,32}| ?\d{1,32}| ?(?:[^\w\s]|_){1,32}"
    r"|\s{1,32}(?= \S)|\s{1,32}"  # the last space before a word belongs to the word
)


class Characters:
    """A token for each of some characters, counted in the order in which a string holds them.

    DataError for what is no string of different characters that UTF-8 has.
    """

    def __init__(self, characters: str):
        if not isinstance(characters, str) or not 0 < len(set(characters)) == len(characters):
            raise DataError(
                f"Characters: {_short(characters)} is no string of one character or more, each "
                "once; Characters.of(text) takes those of a text"
            )
        self.characters = characters
        self._codes = _codes(characters)
        self._order = np.argsort(self._codes)
        self._sorted = self._codes[self._order]

    @classmethod
    def of(cls, text: str):
        """The tokenizer of the characters in a text, in the order of their code points."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> np.ndarray:
        """The numbers (n,) int32 of a text's characters; DataError for one that is not known."""
        codes = _codes(text)
        places = np.searchsorted(self._sorted, codes).clip(max=len(self) - 1)
        if (unknown := self._sorted[places] != codes).any():
            at = int(unknown.argmax())
            raise DataError(
                f"Characters: character {at}, {text[at]!r}, is none of the {len(self)} known; make "
                "the tokenizer by Characters.of(all the text), or use Bytes() or BytePairs"
            )
        return self._order[places].astype(np.int32)

    def decode(self, ids) -> str:
        """The text of some numbers."""
        return self._codes[_numbers(ids, self)].astype("<u4").tobytes().decode("utf-32-le")

    def words(self) -> dict:
        """What `tokenizer` makes it of, in JSON's types."""
        return {"kind": "characters", "characters": self.characters}


class Bytes:
    """A token for each of the 256 bytes: any text in UTF-8, and nothing to learn."""

    def __len__(self) -> int:
        return 256

    def encode(self, text: str) -> np.ndarray:
        """The bytes (n,) int32 of a text in UTF-8."""
        return np.frombuffer(_utf8(text), np.uint8).astype(np.int32)

    def decode(self, ids) -> str:
        """The text of some bytes; what is no UTF-8, as a model may write, becomes U+FFFD."""
        return _numbers(ids, self).astype(np.uint8).tobytes().decode(errors="replace")

    def words(self) -> dict:
        """What `tokenizer` makes it of, in JSON's types."""
        return {"kind": "bytes"}


class BytePairs:
    """Byte-pair encoding (Gage 1994; of words Sennrich et al. 2016; of bytes, so that no text is
    unknown, Radford et al. 2019): tokens 0 to 255 are bytes, and token 256 + k stands for the pair
    of tokens `merges[k]`.

    merges: pairs (a, b) of tokens that are there already. `train` learns them. DataError for a
    table that is none.
    """

    def __init__(self, merges):
        self._spelt = [bytes((i,)) for i in range(256)]  # of each token
        self._ranks, self._known = {}, {}  # when a pair is merged; the tokens of a piece
        if not isinstance(merges, (list, tuple)) or len(merges) > MOST - 256:
            raise DataError(f"BytePairs: merges is no list of at most {MOST - 256} pairs")
        for k, pair in enumerate(merges):
            right = isinstance(pair, (list, tuple)) and len(pair) == 2
            right = right and all(type(i) is int and 0 <= i < 256 + k for i in pair)
            if not right or tuple(pair) in self._ranks:
                raise DataError(
                    f"BytePairs: merge {k} is {_short(pair)}; it must be a pair of whole numbers "
                    f"from 0 to {255 + k}, and no earlier one"
                )
            spelt = self._spelt[pair[0]] + self._spelt[pair[1]]
            if len(spelt) > LONGEST:
                raise DataError(f"BytePairs: merge {k} makes a token of over {LONGEST} bytes")
            self._ranks[tuple(pair)] = k
            self._spelt.append(spelt)
        self.merges = [*self._ranks]

    @classmethod
    def train(cls, text: str, size: int):
        """Learn a vocabulary of `size` tokens: merge the pair that the text holds most often, the
        smallest of those, again and again. It has fewer where no pair is left that occurs twice.
        """
        if not isinstance(size, int) or not 256 <= size <= MOST:
            raise DataError(f"BytePairs: size is {size!r}; choose a whole number, 256 to {MOST}")
        _utf8(text)
        amounts = Counter(PIECES.findall(text))
        words = [list(piece.encode()) for piece in amounts]
        amounts = list(amounts.values())
        counts, holders = Counter(), defaultdict(set)  # of a pair: how often, in which words
        for i, word in enumerate(words):
            for pair in zip(word, word[1:]):
                counts[pair] += amounts[i]
                holders[pair].add(i)
        heap = [(-count, pair) for pair, count in counts.items()]
        heapq.heapify(heap)
        merges = []
        while heap and len(merges) < size - 256:
            count, pair = heapq.heappop(heap)
            if -count != counts[pair]:  # another merge took some: it waits for its turn
                if 1 < counts[pair] < -count:
                    heapq.heappush(heap, (-counts[pair], pair))
                continue
            if count == -1:
                break
            made = Counter()  # only words that hold the pair change, and only pairs in them
            for i in holders.pop(pair):
                merged = _merged(words[i], pair, 256 + len(merges))
                for old in zip(words[i], words[i][1:]):
                    counts[old] -= amounts[i]
                for new in zip(merged, merged[1:]):
                    made[new] += amounts[i]
                    holders[new].add(i)
                words[i] = merged
            counts.update(made)
            for new in made:
                heapq.heappush(heap, (-counts[new], new))
            merges.append(pair)
        return cls(merges)

    def __len__(self) -> int:
        return len(self._spelt)

    def encode(self, text: str) -> np.ndarray:
        """The tokens (n,) int32 of a text: in each piece of it, merges in the order in which they
        were learnt.
        """
        _utf8(text)
        pieces = PIECES.findall(text)
        if len(self._known) > CACHE:
            self._known.clear()
        for piece in set(pieces) - self._known.keys():
            self._known[piece] = self._tokens(piece)
        return np.array([*chain.from_iterable(map(self._known.get, pieces))], np.int32)

    def _tokens(self, piece):
        ids = list(piece.encode())
        while len(ids) > 1:
            rank = min(self._ranks.get(pair, NEVER) for pair in zip(ids, ids[1:]))
            if rank == NEVER:
                break
            ids = _merged(ids, self.merges[rank], 256 + rank)
        return ids

    def decode(self, ids) -> str:
        """The text of some tokens; what is no UTF-8, as a model may write, becomes U+FFFD."""
        spelt = map(self._spelt.__getitem__, _numbers(ids, self).tolist())
        return b"".join(spelt).decode(errors="replace")

    def words(self) -> dict:
        """What `tokenizer` makes it of, in JSON's types: merges as one line, "101 32,116 104"."""
        return {"kind": "pairs", "merges": ",".join(f"{a} {b}" for a, b in self.merges)}


def tokenizer(words: dict):
    """The tokenizer that gave these `words()`, from a file, say, that anybody may have written:
    DataError for what is none.
    """
    kinds = {
        "characters": (Characters, {"characters"}),
        "bytes": (Bytes, set()),
        "pairs": (BytePairs, {"merges"}),
    }
    kind = words.get("kind") if isinstance(words, dict) else None
    make, needs = kinds.get(kind, (None, None)) if isinstance(kind, str) else (None, None)
    if make is None or words.keys() != needs | {"kind"}:
        raise DataError(
            f"tokenizer: {_short(words)} is not what words() of a tokenizer gives, a kind of "
            f"{', '.join(kinds)} and what belongs to it"
        )
    given = [words[name] for name in needs]
    if kind == "pairs":
        given = [_pairs(*given)]
    return make(*given)


def _pairs(merges):
    """[(101, 32), (116, 104)] of "101 32,116 104"."""
    try:
        return [tuple(map(int, pair.split())) for pair in merges.split(",") if merges]
    except (AttributeError, ValueError):
        raise DataError(
            f"BytePairs: merges is {_short(merges)}; it must be a line of pairs, 101 32,116 104"
        ) from None


def _merged(ids, pair, token):
    """Tokens with `token` in the place of each pair, from the left."""
    out, i = [], 0
    while i < len(ids):
        found = ids[i] == pair[0] and i + 1 < len(ids) and ids[i + 1] == pair[1]
        out.append(token if found else ids[i])
        i += 2 if found else 1
    return out


def _codes(text):
    """The code points (n,) uint32 of a text; DataError as of `_utf8`."""
    _utf8(text)
    return np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.uint32)


def _utf8(text):
    """The bytes of a text; DataError where it holds half a character, which UTF-8 has not."""
    if not isinstance(text, str):
        raise DataError(f"a tokenizer encodes a string, got {type(text).__name__}; bytes.decode()")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"character {error.start} of the text, {text[error.start]!r}, is a lone surrogate, "
            "which UTF-8 has not; text.encode(errors='replace').decode() is without"
        ) from error


def _numbers(ids, known):
    """Tokens as an array (n,) of whole numbers below the size of a vocabulary; else DataError."""
    ids = np.asarray(to_host(ids) if is_array(ids) else ids)
    name = type(known).__name__
    if ids.ndim != 1 or ids.size and ids.dtype.kind not in "iu":
        raise DataError(
            f"{name}: decode takes one row of whole numbers, got {ids.shape} {ids.dtype}; "
            "decode the rows of a batch one by one"
        )
    if ids.size and not 0 <= ids.min() <= ids.max() < len(known):
        wrong = ids[(ids < 0) | (ids >= len(known))][0]
        raise DataError(f"{name}: there is no token {wrong}; they go from 0 to {len(known) - 1}")
    return ids.astype(np.int64)


def _short(value):
    """What somebody gave, in an error of one line."""
    shown = ascii(value) if isinstance(value, (str, int, float)) else type(value).__name__
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
