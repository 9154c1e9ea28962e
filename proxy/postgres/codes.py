"""Codes and limits of start-up and authentication (docs: "Message Formats", "Protocol Flow").

The codes of everything after that are in ``constants.py``. The comment is the byte on the wire.
"""

from __future__ import annotations

from typing import Final

# What the first four bytes after the length of an untyped packet can say.
PROTOCOL_MAJOR: Final = 3
NEWEST_MINOR: Final = 2
"""Newest minor version of protocol 3 spoken here; 3.1 was never used."""
CANCEL_REQUEST: Final = 80877102
SSL_REQUEST: Final = 80877103
GSSENC_REQUEST: Final = 80877104

# Messages of start-up and authentication.
AUTHENTICATION: Final = 0x52  # R
BACKEND_KEY_DATA: Final = 0x4B  # K
NEGOTIATE_PROTOCOL_VERSION: Final = 0x76  # v
PASSWORD_MESSAGE: Final = 0x70  # p: also SASLInitialResponse and SASLResponse

# Kinds of Authentication messages.
AUTH_OK: Final = 0
AUTH_CLEARTEXT_PASSWORD: Final = 3
AUTH_MD5_PASSWORD: Final = 5
AUTH_SASL: Final = 10
AUTH_SASL_CONTINUE: Final = 11
AUTH_SASL_FINAL: Final = 12

STARTUP_LIMIT_BYTES: Final = 10000
"""Longest start-up packet, as in PostgreSQL (``MAX_STARTUP_PACKET_LENGTH``)."""
PASSWORD_LIMIT_BYTES: Final = 65535
"""Longest password or SASL message taken (``PG_MAX_AUTH_TOKEN_LENGTH``)."""
LOGIN_LIMIT_BYTES: Final = 65536
"""Longest message taken from a server that we log in to."""
CANCEL_KEY_LEAST_BYTES: Final = 4
CANCEL_KEY_MOST_BYTES: Final = 256
