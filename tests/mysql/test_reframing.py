"""Commands of several packets whose heads grow."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from proxy.mysql.reframing import Reframing

MOST = 8
"""Bytes of a full packet here."""


def framed(payload: bytes, sequence: int = 0) -> list[bytes]:
    """Divide a command into packets, as a client does."""
    parts = [payload[i : i + MOST] for i in range(0, len(payload), MOST)]
    if not parts or len(parts[-1]) == MOST:
        parts.append(b"")
    numbers = range(sequence, sequence + len(parts))
    return [
        len(part).to_bytes(3, "little") + bytes((number & 0xFF,)) + part
        for number, part in zip(numbers, parts, strict=True)
    ]


def fed(packets: list[bytes], head: bytes, replaced: int, size: int) -> bytes:
    """Feed packets by chunks of some size, the first of which has the whole head."""
    reframing = Reframing(head, replaced, MOST)
    out = b""
    for index, packet in enumerate(packets):
        first = 4 + replaced if index == 0 else 4
        cuts = [0, *range(max(first, size), len(packet), size), len(packet)]
        for start, stop in itertools.pairwise(cuts):
            out += reframing.feed(packet[start:stop])
    return out


@given(
    rest=st.binary(max_size=5 * MOST),
    replaced=st.integers(1, 4),
    more=st.integers(1, 3 * MOST // 4),
    size=st.integers(1, 3 * MOST),
)
def test_a_grown_command_is_framed_as_if_it_had_come_so(
    rest: bytes, replaced: int, more: int, size: int
) -> None:
    old, new = bytes(replaced), b"h" * (replaced + more)
    assert fed(framed(old + rest), new, replaced, size) == b"".join(framed(new + rest))


def test_boundaries() -> None:
    for length in range(2, 4 * MOST):
        for more in range(1, MOST):
            rest = bytes(range(length))
            expected = b"".join(framed(b"1" + b"t" * more + rest))
            assert fed(framed(b"0" + rest), b"1" + b"t" * more, 1, 5) == expected


def test_sequence_ids_begin_anew_behind_255() -> None:
    rest = bytes(300 * MOST - 2)
    assert fed(framed(b"0" + rest), b"11", 1, 99) == b"".join(framed(b"11" + rest))
