"""Session state as OK packets report it (source documentation, "OK_Packet", session-state blocks).

With ``session_track_system_variables='*'``, ``session_track_schema``,
``session_track_state_change`` and ``session_track_transaction_info='CHARACTERISTICS'`` this was
observed on MySQL 9.7.4 and on
MariaDB 10.11.19 and 11.8.9:

* The OK behind a result set reports what a function called in that SELECT has set, and CALL reports
  what its procedure has set.
* ``SET NAMES`` and ``SET CHARACTER SET`` report the three ``character_set_*`` that they set, not
  ``collation_connection``, which changes as well; a change of ``collation_connection`` does not
  report ``character_set_connection`` (see ``settings.COUPLED``).
* MariaDB from 11.1 on takes variables that it keeps in one place for one another
  (``settings.MIXED_UP``): with ``SET foreign_key_checks=0`` it may report ``autocommit``.
* What a statement has set before it ended in ERR is reported by MySQL's next OK. MariaDB reports it
  only with an OK that has another change to report; ``SELECT 1`` and ``DO 1`` have none, ``SET
  session_track_schema=ON`` has (``REPORT_ALL``).
* MySQL reports ``statement_id`` with every OK. ``SET GLOBAL`` and ``SET PERSIST`` report nothing.
* ``SET timestamp=DEFAULT`` reports the old value, MySQL reports 0 for ``rand_seed1``.
* MariaDB's ``SET STATEMENT x=1 FOR ...`` reports 1, and the old value only with a later OK that
  has another change to report.
* A state change is reported for SET (user variables also), PREPARE and DEALLOCATE PREPARE, CREATE
  and DROP TEMPORARY TABLE, USE. It is not for ``SELECT @x:=1``, ``SELECT ... INTO @x``, GET_LOCK,
  HANDLER, FLUSH TABLES WITH READ LOCK.
* The transaction state ends in ``L`` while LOCK TABLES is in force; it is ``T...`` inside XA START.
  MySQL leaves an XA transaction at XA PREPARE, MariaDB only at XA COMMIT or ROLLBACK.
* ``SET TRANSACTION`` for one transaction alone is reported as characteristics, such as ``SET
  TRANSACTION READ ONLY;``, which are empty once the transaction has ended.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import ProtocolError
from proxy.mysql.constants import (
    SESSION_TRACK_GTIDS,
    SESSION_TRACK_SCHEMA,
    SESSION_TRACK_STATE_CHANGE,
    SESSION_TRACK_SYSTEM_VARIABLES,
    SESSION_TRACK_TRANSACTION_CHARACTERISTICS,
    SESSION_TRACK_TRANSACTION_STATE,
)
from proxy.mysql.lenenc import lenenc, read_lenenc

REPORT_ALL: Final = b"SET SESSION session_track_schema=ON"
"""Makes either server report what it has not reported yet, after an ERR or SET STATEMENT."""

_TRACKING_SQL: Final = (
    b"SET SESSION session_track_system_variables=%s,session_track_schema=ON,"
    b"session_track_state_change=ON,session_track_transaction_info='CHARACTERISTICS'"
)
_ALL: Final = b"'*'"
_ALL_AND_FIRST: Final = b"CONCAT_WS(',',NULLIF(@@session.session_track_system_variables,''),'*')"


def tracking_sql(*, mariadb: bool) -> bytes:
    """Make a server report all that can be reported.

    Variables that MariaDB takes for one another (``settings.MIXED_UP``) it reports under the name
    that it has heard first. Those of its own list, which are what clients are told, come first.
    """
    return _TRACKING_SQL % (_ALL_AND_FIRST if mariadb else _ALL)


class Track:
    """What one OK packet reports of the session; ``None`` where it says nothing."""

    __slots__ = ("characteristics", "schema", "state_changed", "transaction", "variables")

    def __init__(self) -> None:
        self.variables: list[tuple[str, str]] = []
        self.schema: str | None = None
        self.state_changed = False
        self.characteristics: str | None = None
        self.transaction: str | None = None

    @property
    def locks_tables(self) -> bool:
        """Whether it reports that LOCK TABLES is in force."""
        return self.transaction is not None and self.transaction.endswith("L")


def read_track(raw: bytes) -> Track:
    """Read the session-state block of an OK packet. Raises ``ProtocolError`` where it is cut."""
    track = Track()
    position = 0
    while position < len(raw):
        kind = raw[position]
        data, position = read_lenenc(raw, position + 1)
        if kind == SESSION_TRACK_SYSTEM_VARIABLES:
            track.variables += _variables(data)
        elif kind == SESSION_TRACK_SCHEMA:
            track.schema = _text(data)
        elif kind == SESSION_TRACK_STATE_CHANGE:
            track.state_changed = True
        elif kind == SESSION_TRACK_TRANSACTION_CHARACTERISTICS:
            track.characteristics = _text(data)
        elif kind == SESSION_TRACK_TRANSACTION_STATE:
            track.transaction = _text(data)
    return track


def filter_track(
    raw: bytes,
    variables: frozenset[str] | None,
    *,
    schema: bool,
    state_change: bool,
    gtids: bool,
    transaction_info: bool,
) -> bytes:
    """Leave what a client has asked for of a session-state block.

    ``variables`` are names in lower case, ``None`` for all. Kinds of state that are not known here
    are left out: nobody can have asked for them.
    """
    wanted = {
        SESSION_TRACK_SYSTEM_VARIABLES: True,
        SESSION_TRACK_SCHEMA: schema,
        SESSION_TRACK_STATE_CHANGE: state_change,
        SESSION_TRACK_GTIDS: gtids,
        SESSION_TRACK_TRANSACTION_CHARACTERISTICS: transaction_info,
        SESSION_TRACK_TRANSACTION_STATE: transaction_info,
    }
    kept = []
    position = 0
    while position < len(raw):
        kind = raw[position]
        data, position = read_lenenc(raw, position + 1)
        if kind == SESSION_TRACK_SYSTEM_VARIABLES and variables is not None:
            data = _only(data, variables)
        if wanted.get(kind, False) and (data or kind != SESSION_TRACK_SYSTEM_VARIABLES):
            kept.append(bytes((kind,)) + lenenc(data))
    return b"".join(kept)


def _decode(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    value, end = read_lenenc(data, 0)
    if end != len(data):
        raise ProtocolError("malformed session state")
    return _decode(value)


def _variables(data: bytes) -> list[tuple[str, str]]:
    """Names and values: MySQL reports each variable apart, MariaDB may put several together."""
    found = []
    position = 0
    while position < len(data):
        name, position = read_lenenc(data, position)
        value, position = read_lenenc(data, position)
        found.append((_decode(name).lower(), _decode(value)))
    return found


def _only(data: bytes, names: frozenset[str]) -> bytes:
    kept = []
    position = 0
    while position < len(data):
        start = position
        name, position = read_lenenc(data, position)
        _, position = read_lenenc(data, position)
        if _decode(name).lower() in names:
            kept.append(data[start:position])
    return b"".join(kept)
