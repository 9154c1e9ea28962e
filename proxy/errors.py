"""Every exception the proxy raises on purpose.

    ProxyError
    ├── ConfigError                     the configuration cannot be used
    ├── ListenFailed                    an endpoint's address cannot be listened on
    ├── ProtocolError
    │   ├── ClientProtocolError         a client broke the protocol
    │   │   ├── BadHandshake            while it logged in, by MySQL's protocol
    │   │   ├── PacketsOutOfOrder       a MySQL packet's sequence id is wrong
    │   │   ├── InvalidStartupOption    its "options" are not ones PostgreSQL takes
    │   │   └── InvalidParameterValue   a start-up parameter has no meaning
    │   └── ServerProtocolError         a server broke the protocol
    ├── ClientAuthError                 a client failed to log in
    │   └── ClientNotAdmitted           a client may not log in this way, whatever its password
    │       ├── TlsRequired             without TLS
    │       └── OldAuthentication       with no plugin but the one it knows
    ├── FeatureNotSupported             a client asked for what a pooler cannot give
    ├── LoginTimeout                    a client took too long to log in
    ├── IdleClient                      a client was silent for too long
    ├── IdleInTransaction               a client held a transaction idle for too long
    ├── QueryCanceled                   a waiting query was cancelled by its user
    ├── SessionKilled                   a client was killed by another of its user
    ├── UnknownSession                  there is no such session to kill
    ├── NotYourSession                  it is another user's
    ├── TooManyClients                  the proxy serves as many clients as it may
    ├── PoolError
    │   ├── BorrowTimeout               no server connection came free in time
    │   └── ShuttingDown                the proxy is draining
    ├── TargetError
    │   ├── ConnectFailed               no connection to the target could be opened
    │   ├── ServerRefused               the target answered the login with an error of its own
    │   └── ServerLost                  the target closed a connection in use
    └── CredentialError                 a secret could not be fetched

Each class carries the SQLSTATE and MySQL errno a client is told, whether the error ends the
connection (``fatal``) and whether the same call may succeed later (``retryable``). ``str(error)``
is safe to send to a client; ``detail`` is for the operator's log only.
"""

from __future__ import annotations

from typing import ClassVar


class ProxyError(Exception):
    """Base of every error the proxy raises on purpose."""

    sqlstate: ClassVar[str] = "XX000"
    mysql_errno: ClassVar[int] = 1105
    fatal: ClassVar[bool] = True
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class ConfigError(ProxyError):
    """The configuration cannot be used; the message names the key and the remedy."""

    sqlstate = "F0000"


class ListenFailed(ProxyError):
    """An endpoint's address cannot be listened on: taken, not this machine's, not permitted."""


class ProtocolError(ProxyError):
    """Bytes on the wire are not what the protocol allows."""

    sqlstate = "08P01"
    mysql_errno = 1158


class ClientProtocolError(ProtocolError):
    """A client sent bytes the protocol does not allow; never blames a server connection."""


class BadHandshake(ClientProtocolError):
    """A client's part of MySQL's handshake is malformed or out of order."""

    mysql_errno = 1043


class PacketsOutOfOrder(ClientProtocolError):
    """A MySQL client sent a packet with a wrong sequence id."""

    mysql_errno = 1156


class InvalidStartupOption(ClientProtocolError):
    """The start-up parameter ``options`` holds what is no setting."""

    sqlstate = "42601"


class InvalidParameterValue(ClientProtocolError):
    """A start-up parameter has a value without meaning."""

    sqlstate = "22023"


class ServerProtocolError(ProtocolError):
    """A server sent bytes the protocol does not allow; never blames a client."""


class ClientAuthError(ProxyError):
    """A client failed to log in. The message must not tell an unknown user from a bad password."""

    sqlstate = "28P01"
    mysql_errno = 1045


class ClientNotAdmitted(ClientAuthError):
    """A client may not log in this way (no TLS, no user name), whatever its password."""

    sqlstate = "28000"


class TlsRequired(ClientNotAdmitted):
    """A client must use TLS here."""

    mysql_errno = 3159


class OldAuthentication(ClientNotAdmitted):
    """A MySQL client cannot be asked for the authentication plugin that its entry needs."""

    mysql_errno = 1251


class FeatureNotSupported(ProxyError):
    """A client asked for something a pooler cannot give, such as a replication connection."""

    sqlstate = "0A000"
    mysql_errno = 1235


class LoginTimeout(ProxyError):
    """A client did not finish logging in within ``login_timeout_s``."""

    sqlstate = "08006"
    mysql_errno = 1159


class IdleClient(ProxyError):
    """A client sent nothing for ``idle_client_timeout_s``."""

    sqlstate = "57P05"
    mysql_errno = 4031


class IdleInTransaction(ProxyError):
    """A client held a transaction idle for ``idle_transaction_timeout_s``."""

    sqlstate = "25P03"
    mysql_errno = 1205


class QueryCanceled(ProxyError):
    """A query that waited for a server connection was cancelled by its user."""

    sqlstate = "57014"
    mysql_errno = 1317
    fatal = False


class SessionKilled(ProxyError):
    """Another client of the same user has killed this one."""

    sqlstate = "57P01"
    mysql_errno = 1317


class UnknownSession(ProxyError):
    """There is no session of this number to kill."""

    sqlstate = "42704"
    mysql_errno = 1094
    fatal = False


class NotYourSession(ProxyError):
    """The session to kill is another user's."""

    sqlstate = "42501"
    mysql_errno = 1095
    fatal = False


class TooManyClients(ProxyError):
    """``max_client_connections`` is reached."""

    sqlstate = "53300"
    mysql_errno = 1040
    retryable = True


class PoolError(ProxyError):
    """The pool could not lend a server connection."""

    sqlstate = "53300"
    mysql_errno = 1040
    retryable = True


class BorrowTimeout(PoolError):
    """No server connection came free within ``connection_borrow_timeout_s``."""

    fatal = False


class ShuttingDown(PoolError):
    """The proxy is draining and lends nothing any more."""

    sqlstate = "57P01"
    mysql_errno = 1053


class TargetError(ProxyError):
    """A target (database server) is the cause."""

    sqlstate = "08006"
    mysql_errno = 1158
    retryable = True


class ConnectFailed(TargetError):
    """No connection to the target could be opened: refused, unreachable, TLS failure, time-out."""

    sqlstate = "08001"
    mysql_errno = 1429


class ServerLost(TargetError):
    """The target closed a connection that a client was using."""


class ServerRefused(TargetError):
    """The target answered the login with an error; ``response`` is that error as it was sent.

    ``response`` is one whole protocol message (PostgreSQL ErrorResponse, MySQL ERR payload).
    ``code`` is its SQLSTATE, ``errno`` MySQL's number (0 from PostgreSQL).
    """

    def __init__(
        self, message: str, *, response: bytes, code: str, errno: int = 0, detail: str = ""
    ) -> None:
        super().__init__(message, detail=detail)
        self.response = response
        self.code = code
        self.errno = errno

    @property
    def secret_rejected(self) -> bool:
        """Whether the password was wrong."""
        return self.code == "28P01" or self.errno == 1045

    @property
    def definitive(self) -> bool:
        """Whether trying again cannot help until someone changes something.

        SQLSTATE class 28 (invalid authorization) and 3D (invalid catalog name); MySQL's 1044 and
        1049 say the latter.
        """
        return self.code[:2] in ("28", "3D") or self.errno in (1044, 1049)


class CredentialError(ProxyError):
    """A secret could not be fetched. The message names the reference, never the secret."""

    sqlstate = "28000"
    mysql_errno = 1045
    retryable = True
