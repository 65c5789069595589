"""Two hundred index, split and beat files that went wrong, each a function of its number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

COUNT = 200


def mutate(content: bytes, number: int) -> bytes:
    """Mutation `number` of a file's bytes: never the bytes themselves."""
    rng = np.random.default_rng([17, number])
    damage = list(_DAMAGES.values())[number % len(_DAMAGES)]
    changed = damage(rng, content)
    return changed if changed != content else content[:-1]


def _flip_bits(rng: np.random.Generator, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(int(rng.integers(1, 12))):
        damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def _cut(rng: np.random.Generator, content: bytes) -> bytes:
    return content[: int(rng.integers(0, len(content)))]


def _zero(rng: np.random.Generator, content: bytes) -> bytes:
    first = int(rng.integers(len(content)))
    length = min(int(rng.integers(1, 200)), len(content) - first)
    return content[:first] + b"\0" * length + content[first + length :]


def _swap(rng: np.random.Generator, content: bytes) -> bytes:
    one, other = sorted(int(place) for place in rng.integers(len(content), size=2))
    return content[:one] + content[other:] + content[one:other]


def _insert(rng: np.random.Generator, content: bytes) -> bytes:
    at = int(rng.integers(len(content)))
    return content[:at] + rng.bytes(int(rng.integers(1, 40))) + content[at:]


def _repeat(rng: np.random.Generator, content: bytes) -> bytes:
    return content * int(rng.integers(2, 4))


def _random(rng: np.random.Generator, content: bytes) -> bytes:
    return rng.bytes(len(content))


def _text(rng: np.random.Generator, content: bytes) -> bytes:
    words = ["nan", "inf", "-1", "1e400", "0x10", "{}", "[]", "null", "gBR_sBM_cAll", "\ufeff", "𝟙"]
    return "\n".join(rng.choice(words, 9)).encode()


_DAMAGES: dict[str, Callable[[np.random.Generator, bytes], bytes]] = {
    "bit flips": _flip_bits,
    "truncated": _cut,
    "zero bytes": _zero,
    "blocks exchanged": _swap,
    "bytes inserted": _insert,
    "repeated": _repeat,
    "random": _random,
    "other text": _text,
}
