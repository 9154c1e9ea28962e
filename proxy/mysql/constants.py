"""Codes of the MySQL protocol.

Sources: MySQL's ``include/my_command.h`` and ``include/mysql_com.h`` (source documentation pages
"Protocol Basics", "Capabilities Flags", "Command Phase"), MariaDB's ``include/mysql_com.h``.
"""

from __future__ import annotations

from typing import Final

HEADER_BYTES: Final = 4
"""Three bytes of payload length, one of sequence id."""
MAX_PAYLOAD_BYTES: Final = 0xFFFFFF
"""A packet this long is continued by the next one."""
HOLD_LIMIT_BYTES: Final = 1 << 20
"""Most of one command or reply that is held back to decide on it; longer ones stream through."""
MAX_PREFIX_BYTES: Final = 1024
"""Start of a longer command that is looked at."""

# Commands (first byte of a command packet).
COM_SLEEP: Final = 0x00
COM_QUIT: Final = 0x01
COM_INIT_DB: Final = 0x02
COM_QUERY: Final = 0x03
COM_FIELD_LIST: Final = 0x04
COM_CREATE_DB: Final = 0x05
COM_DROP_DB: Final = 0x06
COM_REFRESH: Final = 0x07
COM_SHUTDOWN: Final = 0x08
COM_STATISTICS: Final = 0x09
COM_PROCESS_INFO: Final = 0x0A
COM_CONNECT: Final = 0x0B
COM_PROCESS_KILL: Final = 0x0C
COM_DEBUG: Final = 0x0D
COM_PING: Final = 0x0E
COM_TIME: Final = 0x0F
COM_DELAYED_INSERT: Final = 0x10
COM_CHANGE_USER: Final = 0x11
COM_BINLOG_DUMP: Final = 0x12
COM_TABLE_DUMP: Final = 0x13
COM_CONNECT_OUT: Final = 0x14
COM_REGISTER_SLAVE: Final = 0x15
COM_STMT_PREPARE: Final = 0x16
COM_STMT_EXECUTE: Final = 0x17
COM_STMT_SEND_LONG_DATA: Final = 0x18
COM_STMT_CLOSE: Final = 0x19
COM_STMT_RESET: Final = 0x1A
COM_SET_OPTION: Final = 0x1B
COM_STMT_FETCH: Final = 0x1C
COM_DAEMON: Final = 0x1D
COM_BINLOG_DUMP_GTID: Final = 0x1E
COM_RESET_CONNECTION: Final = 0x1F
COM_CLONE: Final = 0x20
COM_STMT_BULK_EXECUTE: Final = 0xFA
"""MariaDB only."""

# First byte of a reply.
OK: Final = 0x00
AUTH_MORE_DATA: Final = 0x01
LOCAL_INFILE: Final = 0xFB
EOF: Final = 0xFE
"""EOF; with CLIENT_DEPRECATE_EOF an OK that ends a result set; at login AuthSwitchRequest."""
ERR: Final = 0xFF
PROGRESS: Final = b"\xff\xff\xff\x01"
"""MariaDB: no ERR but a report of progress, to clients with MARIADB_CLIENT_PROGRESS; the reply is
still to come. An ERR of number 65535, which SIGNAL may give, has ``#`` where the last byte is."""

# Server status flags.
SERVER_STATUS_IN_TRANS: Final = 0x0001
SERVER_STATUS_AUTOCOMMIT: Final = 0x0002
SERVER_MORE_RESULTS_EXISTS: Final = 0x0008
SERVER_QUERY_NO_GOOD_INDEX_USED: Final = 0x0010
SERVER_QUERY_NO_INDEX_USED: Final = 0x0020
SERVER_STATUS_CURSOR_EXISTS: Final = 0x0040
SERVER_STATUS_LAST_ROW_SENT: Final = 0x0080
SERVER_STATUS_DB_DROPPED: Final = 0x0100
SERVER_STATUS_NO_BACKSLASH_ESCAPES: Final = 0x0200
SERVER_STATUS_METADATA_CHANGED: Final = 0x0400
SERVER_QUERY_WAS_SLOW: Final = 0x0800
SERVER_PS_OUT_PARAMS: Final = 0x1000
SERVER_STATUS_IN_TRANS_READONLY: Final = 0x2000
SERVER_SESSION_STATE_CHANGED: Final = 0x4000
SERVER_STATUS_ANSI_QUOTES: Final = 0x8000
"""MariaDB only."""

LASTING_FLAGS: Final = (
    SERVER_STATUS_IN_TRANS
    | SERVER_STATUS_AUTOCOMMIT
    | SERVER_STATUS_NO_BACKSLASH_ESCAPES
    | SERVER_STATUS_IN_TRANS_READONLY
    | SERVER_STATUS_ANSI_QUOTES
)
"""Status flags that tell of the session, not of its last statement."""

# What session tracking reports.
SESSION_TRACK_SYSTEM_VARIABLES: Final = 0
SESSION_TRACK_SCHEMA: Final = 1
SESSION_TRACK_STATE_CHANGE: Final = 2
SESSION_TRACK_GTIDS: Final = 3
SESSION_TRACK_TRANSACTION_CHARACTERISTICS: Final = 4
SESSION_TRACK_TRANSACTION_STATE: Final = 5

# Capabilities.
CLIENT_LONG_PASSWORD: Final = 1
"""Called CLIENT_MYSQL by MariaDB, whose servers do not offer it: then extended capabilities
follow in the greeting."""
CLIENT_FOUND_ROWS: Final = 1 << 1
CLIENT_LONG_FLAG: Final = 1 << 2
CLIENT_CONNECT_WITH_DB: Final = 1 << 3
CLIENT_NO_SCHEMA: Final = 1 << 4
CLIENT_COMPRESS: Final = 1 << 5
CLIENT_ODBC: Final = 1 << 6
CLIENT_LOCAL_FILES: Final = 1 << 7
CLIENT_IGNORE_SPACE: Final = 1 << 8
CLIENT_PROTOCOL_41: Final = 1 << 9
CLIENT_INTERACTIVE: Final = 1 << 10
CLIENT_SSL: Final = 1 << 11
CLIENT_IGNORE_SIGPIPE: Final = 1 << 12
CLIENT_TRANSACTIONS: Final = 1 << 13
CLIENT_RESERVED: Final = 1 << 14
CLIENT_SECURE_CONNECTION: Final = 1 << 15
CLIENT_MULTI_STATEMENTS: Final = 1 << 16
CLIENT_MULTI_RESULTS: Final = 1 << 17
CLIENT_PS_MULTI_RESULTS: Final = 1 << 18
CLIENT_PLUGIN_AUTH: Final = 1 << 19
CLIENT_CONNECT_ATTRS: Final = 1 << 20
CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA: Final = 1 << 21
CLIENT_CAN_HANDLE_EXPIRED_PASSWORDS: Final = 1 << 22
CLIENT_SESSION_TRACK: Final = 1 << 23
CLIENT_DEPRECATE_EOF: Final = 1 << 24
CLIENT_OPTIONAL_RESULTSET_METADATA: Final = 1 << 25
CLIENT_ZSTD_COMPRESSION_ALGORITHM: Final = 1 << 26
CLIENT_QUERY_ATTRIBUTES: Final = 1 << 27
MULTI_FACTOR_AUTHENTICATION: Final = 1 << 28
CLIENT_CAPABILITY_EXTENSION: Final = 1 << 29
CLIENT_SSL_VERIFY_SERVER_CERT: Final = 1 << 30
CLIENT_REMEMBER_OPTIONS: Final = 1 << 31
MARIADB_CLIENT_PROGRESS: Final = 1 << 32
MARIADB_CLIENT_COM_MULTI: Final = 1 << 33
MARIADB_CLIENT_STMT_BULK_OPERATIONS: Final = 1 << 34
MARIADB_CLIENT_EXTENDED_METADATA: Final = 1 << 35
MARIADB_CLIENT_CACHE_METADATA: Final = 1 << 36
MARIADB_CLIENT_BULK_UNIT_RESULTS: Final = 1 << 37

POOL_CAPABILITIES: Final = (
    CLIENT_FOUND_ROWS
    | CLIENT_NO_SCHEMA
    | CLIENT_ODBC
    | CLIENT_LOCAL_FILES
    | CLIENT_IGNORE_SPACE
    | CLIENT_INTERACTIVE
    | CLIENT_MULTI_STATEMENTS
    | CLIENT_MULTI_RESULTS
    | CLIENT_PS_MULTI_RESULTS
    | CLIENT_CAN_HANDLE_EXPIRED_PASSWORDS
    | CLIENT_OPTIONAL_RESULTSET_METADATA
    | CLIENT_QUERY_ATTRIBUTES
    | MARIADB_CLIENT_PROGRESS
    | MARIADB_CLIENT_STMT_BULK_OPERATIONS
    | MARIADB_CLIENT_EXTENDED_METADATA
    | MARIADB_CLIENT_CACHE_METADATA
    | MARIADB_CLIENT_BULK_UNIT_RESULTS
)
"""Options that change what a session means or what its bytes look like: only sessions that agree on
all of them share server connections."""
TRANSLATED_CAPABILITIES: Final = CLIENT_DEPRECATE_EOF | CLIENT_SESSION_TRACK
"""Asked of every server that has them, and translated for clients that do not."""

# Cursor types of COM_STMT_EXECUTE.
CURSOR_TYPE_READ_ONLY: Final = 0x01

# Column types that our own queries meet.
MYSQL_TYPE_DOUBLE: Final = 0x05
MYSQL_TYPE_NULL: Final = 0x06
MYSQL_TYPE_LONGLONG: Final = 0x08
MYSQL_TYPE_NEWDECIMAL: Final = 0xF6
UNSIGNED_FLAG: Final = 0x20
