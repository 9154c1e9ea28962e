"""Run a part of the crowd in a process of its own and print its tally as JSON."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys

from tests.soak.crowd import Crowd


def main() -> None:
    """Arguments: engine, host, port, size, seed, seconds."""
    engine, host, port, size, seed, seconds = sys.argv[1:]
    crowd = Crowd(engine, host, int(port), int(size), int(seed))
    asyncio.run(crowd.run(float(seconds)))
    print(json.dumps(dataclasses.asdict(crowd.tally)))


if __name__ == "__main__":
    main()
