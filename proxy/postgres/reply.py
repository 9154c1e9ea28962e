"""Exceptions as PostgreSQL clients see them: the only place that turns one into bytes."""

from __future__ import annotations

from proxy.errors import ProxyError, ServerRefused
from proxy.postgres.messages import error_response


def error_reply(error: ProxyError) -> bytes:
    """Encode an error as an ErrorResponse: FATAL if it ends the connection, ERROR if not.

    What a server said at login is passed on as it said it.
    """
    if isinstance(error, ServerRefused):
        return error.response
    severity = "FATAL" if error.fatal else "ERROR"
    return error_response(severity, error.sqlstate, str(error))
