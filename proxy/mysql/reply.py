"""Exceptions as MySQL clients see them: the only place that turns one into bytes."""

from __future__ import annotations

from typing import Final

from proxy.errors import ProxyError, ServerRefused
from proxy.mysql.lenenc import packet
from proxy.mysql.messages import err_payload

_SQLSTATES: Final = {
    1040: "08004",
    1043: "08S01",
    1045: "28000",
    1053: "08S01",
    1158: "08S01",
    1159: "08S01",
    1235: "42000",
    1251: "08004",
    1317: "70100",
}
"""What MySQL sends with these; HY000 with all others that the proxy raises."""


def error_payload(error: ProxyError) -> bytes:
    """Encode an error as an ERR packet's payload.

    What a server said at login is passed on as it said it.
    """
    if isinstance(error, ServerRefused):
        return error.response
    errno = error.mysql_errno
    return err_payload(errno, _SQLSTATES.get(errno, "HY000"), str(error))


def error_packet(error: ProxyError, sequence: int) -> bytes:
    """Encode an error as a packet."""
    return packet(error_payload(error), sequence)
