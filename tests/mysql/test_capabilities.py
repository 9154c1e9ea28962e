"""What clients are offered, and what servers are asked for."""

from __future__ import annotations

from proxy.mysql import capabilities as caps
from proxy.mysql.constants import (
    CLIENT_COMPRESS,
    CLIENT_CONNECT_WITH_DB,
    CLIENT_DEPRECATE_EOF,
    CLIENT_FOUND_ROWS,
    CLIENT_PROTOCOL_41,
    CLIENT_SESSION_TRACK,
    CLIENT_SSL,
    MARIADB_CLIENT_CACHE_METADATA,
    MARIADB_CLIENT_PROGRESS,
)

SERVER = CLIENT_COMPRESS | CLIENT_SSL | CLIENT_PROTOCOL_41 | CLIENT_FOUND_ROWS
PROFILE = caps.TargetProfile("9.7.0", SERVER, 255, "caching_sha2_password")


def test_clients_are_offered_what_the_target_offers_less_compression() -> None:
    assert caps.offered(PROFILE, tls=False) == CLIENT_PROTOCOL_41 | CLIENT_FOUND_ROWS
    assert caps.offered(PROFILE, tls=True) & CLIENT_SSL


def test_sessions_that_count_rows_differently_have_pools_of_their_own() -> None:
    client = CLIENT_FOUND_ROWS | CLIENT_PROTOCOL_41 | MARIADB_CLIENT_CACHE_METADATA
    assert caps.pool_capabilities(client) == CLIENT_FOUND_ROWS


def test_sessions_that_are_told_of_progress_have_pools_of_their_own() -> None:
    client = MARIADB_CLIENT_PROGRESS | CLIENT_PROTOCOL_41
    assert caps.pool_capabilities(client) == MARIADB_CLIENT_PROGRESS
    profile = caps.TargetProfile("11.8.9-MariaDB", client, 45, "mysql_native_password")
    assert caps.offered(profile, tls=False) == client


def test_servers_are_asked_for_what_is_translated_and_for_nothing_they_lack() -> None:
    server = CLIENT_PROTOCOL_41 | CLIENT_SESSION_TRACK | CLIENT_DEPRECATE_EOF
    server |= CLIENT_CONNECT_WITH_DB
    asked = caps.asked(server, CLIENT_FOUND_ROWS, database=False)
    assert asked == server & ~CLIENT_CONNECT_WITH_DB
    assert caps.asked(server, 0, database=True) == server


def test_mariadb_is_told_by_its_version() -> None:
    assert caps.is_mariadb("5.5.5-10.11.6-MariaDB-log")
    assert not PROFILE.is_mariadb


def test_mariadbs_version() -> None:
    assert caps.mariadb_version("11.8.9-MariaDB-4 from Debian") == (11, 8)
    assert caps.mariadb_version("5.5.5-10.11.6-MariaDB-log") == (5, 5)
    assert caps.mariadb_version("12.0.0") == (0, 0)
    assert caps.mariadb_version("MariaDB") == (0, 0)
