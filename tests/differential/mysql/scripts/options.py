"""What only clients with an option of MySQL's send or are sent."""

from __future__ import annotations

from tests.differential.mysql.scripts.tables import ITEMS
from tests.differential.mysql.steps import (
    NOTHING,
    execute,
    execute_with,
    number,
    prepare,
    query,
    script,
    text,
)
from tests.support.local_mysql import MYSQL

TRACE = {"trace": text("abc"), "depth": number(5)}
READ = "SELECT mysql_query_attribute_string('trace'), mysql_query_attribute_string('depth')"

QUERY_ATTRIBUTES = (
    script(
        "query attributes",
        READ,
        query(READ, attributes=TRACE),
        READ,
        query(READ, attributes={"trace": NOTHING, "depth": text("x" * 300)}),
        query("SET @a = mysql_query_attribute_string('trace')", attributes=TRACE),
        "SELECT @a",
        query("SELECT 1; SELECT 1/0; SHOW WARNINGS", attributes=TRACE),
        query("INSERT INTO items (name) VALUES ('four')", attributes=TRACE),
        query("SELECT LAST_INSERT_ID(), ROW_COUNT()", attributes=TRACE),
        before=ITEMS,
        kinds=(MYSQL,),
    ),
    script(
        "attributes of executions",
        prepare(READ + ", ?, 1/0"),
        execute_with(0, TRACE, text("first")),
        execute_with(0, {}, text("second")),
        "SHOW WARNINGS",
        execute_with(0, {"depth": NOTHING}, number(3)),
        execute_with(0, TRACE, NOTHING),
        prepare("SELECT 1"),
        execute_with(1, TRACE),
        execute(1),
        kinds=(MYSQL,),
    ),
)
"""For CLIENT_QUERY_ATTRIBUTES, and a server with component_query_attributes."""

OPTIONAL_METADATA = (
    script(
        "answers known without asking",
        "SELECT 1/0",
        "SHOW WARNINGS",
        "SHOW COUNT(*) WARNINGS",
        "SELECT @@warning_count, ROW_COUNT()",
        prepare("SELECT ?, name FROM items"),
        execute(0, text("x")),
        "SHOW ERRORS",
        before=ITEMS,
        kinds=(MYSQL,),
    ),
    script(
        "no definitions",
        "SELECT nosuch",
        "SET resultset_metadata = NONE",
        "SELECT 1, 2",
        "SELECT @@resultset_metadata",
        "INSERT INTO items (name) VALUES ('four')",
        "SELECT LAST_INSERT_ID()",
        "SET @a = 5",
        "SELECT @a",
        "SELECT 1/0",
        "SHOW WARNINGS",
        "SHOW COUNT(*) WARNINGS",
        "SELECT nosuch",
        "SHOW ERRORS",
        prepare("SELECT ?, name FROM items"),
        execute(0, text("x")),
        execute(0, text("x"), cursor=True),
        prepare("SELECT 1"),
        prepare("DELETE FROM items WHERE id = ?"),
        execute(2, number(1)),
        "SELECT GET_LOCK('a', 0)",
        "SELECT RELEASE_LOCK('a')",
        "SET NAMES latin1",
        "SELECT @@collation_connection",
        "BEGIN",
        "SELECT 1 WHERE 0",
        "COMMIT",
        "SET resultset_metadata = FULL",
        "SELECT 1",
        execute(0, text("x")),
        "SHOW WARNINGS",
        before=ITEMS,
        kinds=(MYSQL,),
    ),
)
"""For CLIENT_OPTIONAL_RESULTSET_METADATA."""
