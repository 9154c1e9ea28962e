"""Reading the kernel's table of connections."""

from __future__ import annotations

from benchmarks.skew import inodes

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1900 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1
   1: 0100007F:1900 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 12 1
   2: 0100007F:C001 0100007F:1900 01 00000000:00000000 00:00000000 00000000     0        0 13 1
"""


def test_only_connections_to_the_port_count() -> None:
    assert inodes(TABLE, 0x1900) == {"12": 0xC001}
