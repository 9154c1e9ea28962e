"""Makes a failing script as short as it can be and still fail."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.differential.player import Script, Step

ENDS_WITH_READY = (b"Q", b"S", b"F")
"""Message types whose reply ends with ReadyForQuery: dropping one changes what is to be read."""

COPY = (b"d", b"c", b"f")
"""Without one of these a server would wait for it for ever."""


def messages(data: bytes) -> list[bytes]:
    """Cut bytes into messages."""
    found = []
    while data:
        size = 1 + int.from_bytes(data[1:5])
        found.append(data[:size])
        data = data[size:]
    return found


def _without_a_message(step: Step) -> Iterator[Step]:
    parts = messages(step.data)
    if any(part[:1] in COPY for part in parts):
        return
    for number, part in enumerate(parts):
        rest = b"".join(parts[:number] + parts[number + 1 :])
        if part[:1] not in ENDS_WITH_READY:
            yield dataclasses.replace(step, data=rest)
        elif step.until == "Z" and step.count > 1:
            yield dataclasses.replace(step, data=rest, count=step.count - 1)


def _shorter(script: Script) -> Iterator[Script]:
    """Give the script without each step (the last first), then without each message."""
    steps = script.steps
    for number in reversed(range(len(steps))):
        # A Sync that ends what the step before flushed goes only together with it.
        if steps[number].until == "Z":
            flushed = number > 0 and steps[number - 1].until != "Z"
            kept = steps[: number - flushed] + steps[number + 1 :]
            yield dataclasses.replace(script, steps=kept)
    for number, step in enumerate(steps):
        for smaller in _without_a_message(step) if step.until == "Z" else ():
            kept = (*steps[:number], smaller, *steps[number + 1 :])
            yield dataclasses.replace(script, steps=kept)


def shrink(script: Script, fails: Callable[[Script], bool], seconds: float = 30.0) -> Script:
    """Give the shortest script found in so long that still fails."""
    deadline = time.monotonic() + seconds
    shorter = True
    while shorter:
        shorter = False
        for candidate in _shorter(script):
            if time.monotonic() > deadline:
                return script
            if candidate.steps and fails(candidate):
                script, shorter = candidate, True
                break
    return script


def describe(script: Script) -> str:
    """Write a script out, a message a line."""
    return "\n".join(
        f"  {number + 1}. {part[:1].decode()} {part[5:][:200]!r}"
        for number, step in enumerate(script.steps)
        for part in messages(step.data)
    )
