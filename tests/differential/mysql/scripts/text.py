"""COM_QUERY and the small commands."""

from __future__ import annotations

from tests.differential.mysql.scripts.tables import ITEMS, PROCEDURES, TYPES
from tests.differential.mysql.steps import command, query, script
from tests.support import mysql_messages as wire

PING = command(wire.PING)
LOAD = "LOAD DATA LOCAL INFILE 'items.csv' INTO TABLE items FIELDS TERMINATED BY ','"

TEXT = (
    script("select", "SELECT 1", "SELECT NULL, '', 'x', 1.5, x'00ff'", "SELECT 1 WHERE 0"),
    script("every type", "SELECT * FROM types", before=TYPES),
    script("errors", "SELEC", "SELECT nosuch", "SELECT * FROM nosuch", "SELECT 1", ""),
    script(
        "changes",
        "INSERT INTO items (name) VALUES ('four')",
        "INSERT INTO items (name) VALUES ('five'), ('six')",
        "INSERT INTO items (name) VALUES ('one')",
        "INSERT IGNORE INTO items (name) VALUES ('one')",
        "INSERT INTO items (name) VALUES ('one') ON DUPLICATE KEY UPDATE price = 11",
        "REPLACE INTO items (id, name) VALUES (2, 'zwei')",
        "UPDATE items SET price = 1 WHERE id > 1",
        "UPDATE items SET price = 1 WHERE id > 1",
        "DELETE FROM items WHERE id > 3",
        "TRUNCATE items",
        before=ITEMS,
    ),
    script(
        "several statements",
        "SELECT 1; SELECT 2, 3",
        "SELECT 1; SELEC; SELECT 2",
        "SELECT 1; SELECT nosuch; SELECT 2",
        "INSERT INTO items (name) VALUES ('x'); SELECT LAST_INSERT_ID(); DELETE FROM items",
        "SET @a = 5; SELECT @a",
        "DO 1; DO 2; DO 3",
        before=ITEMS,
    ),
    script(
        "procedures",
        "SET @text = 'a'",
        "CALL two_results(3, @doubled, @text)",
        "SELECT @doubled, @text",
        "CALL fails()",
        "SHOW WARNINGS",
        "CALL nosuch()",
        before=PROCEDURES,
    ),
    script(
        "local infile",
        query(LOAD, b"10,ten,1\n11,eleven,2\n"),
        query(LOAD, b"10,ten,1\n12,x\n"),
        query(LOAD, b""),
        query(LOAD.replace("items FIELDS", "nosuch FIELDS"), b"1,2,3\n"),
        query("SELECT 1; " + LOAD + "; SELECT 2", b"13,thirteen,3\n"),
        "SELECT * FROM items ORDER BY id",
        before=ITEMS,
    ),
    script(
        "small commands",
        PING,
        command(wire.STATISTICS),
        command(wire.INIT_DB, b"information_schema"),
        "SELECT DATABASE()",
        command(wire.INIT_DB, b"nosuch"),
        command(wire.INIT_DB, b"app"),
        command(wire.FIELD_LIST, b"items\0"),
        command(wire.FIELD_LIST, b"items\0na%"),
        command(wire.FIELD_LIST, b"nosuch\0"),
        command(wire.SET_OPTION, b"\x01\x00"),
        "SELECT 1; SELECT 2",
        command(wire.SET_OPTION, b"\x00\x00"),
        "SELECT 1; SELECT 2",
        command(wire.SET_OPTION, b"\x07\x00"),
        command(0x50),
        PING,
        before=ITEMS,
    ),
    script(
        "large rows",
        "SELECT REPEAT('x', 250), REPEAT('y', 251), REPEAT('z', 65536)",
        "SELECT REPEAT('x', 16777200)",
        "SELECT 1",
    ),
    script(
        "large commands",
        "SELECT LENGTH('" + "x" * 70000 + "')",
        query(b"SELECT LENGTH('" + b"x" * (wire.MAX_PAYLOAD - 18) + b"')"),
        query(b"SELECT LENGTH('" + b"x" * (wire.MAX_PAYLOAD + 9) + b"')"),
        PING,
    ),
    script(
        "many rows",
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
        " SELECT i, REPEAT('x', i % 100) FROM n",
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
        " SELECT i, IF(i = 900, (SELECT 1 UNION SELECT 2), 0) FROM n",
    ),
)
