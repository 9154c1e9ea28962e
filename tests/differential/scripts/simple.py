"""Scripts of the simple protocol: queries, transactions, savepoints, errors, notices."""

from __future__ import annotations

from tests.differential.player import script
from tests.support import messages as wire

ITEMS = (
    "DROP TABLE IF EXISTS items CASCADE;"
    " CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL, price numeric CHECK (price > 0));"
    " INSERT INTO items SELECT n, 'item ' || n, n * 1.5 FROM generate_series(1, 20) n"
)

SIMPLE = (
    script("select", "SELECT 1 AS one, 'two' AS two, NULL AS three", "SELECT now() IS NULL"),
    script("empty query", "", ";", "   -- only a comment", "SELECT 1"),
    script("several statements", "SELECT 1; SELECT 2; SELECT 3", "SELECT 1; SELECT 1/0; SELECT 3"),
    script(
        "no rows and no columns",
        "SELECT 1 WHERE false",
        "SELECT",
        "SELECT FROM items",
        before=ITEMS,
    ),
    script(
        "every type",
        "SELECT 1::int2, 2::int8, 1.5::float4, 2.5::float8, 1.50::numeric, true, 'x'::char(3),"
        " 'v'::varchar, '\\xdeadbeef'::bytea, date '2024-02-29', time '12:34:56.789',"
        " timestamp '2024-02-29 12:34:56', timestamptz '2024-02-29 12:34:56+00',"
        " interval '1 day 2h',"
        " '{1,2,NULL}'::int[], '{\"a\": [1, null]}'::jsonb, int4range(1, 5), '10.0.0.0/8'::cidr,"
        " '00000000-0000-0000-0000-000000000001'::uuid, point(1, 2), 'nan'::float8, ROW(1, 'a')",
    ),
    script(
        "rows written",
        "INSERT INTO items VALUES (100, 'new', 1), (101, 'newer', 2) RETURNING id, name",
        "UPDATE items SET price = price + 1 WHERE id > 99",
        "DELETE FROM items WHERE id > 99",
        "MERGE INTO items USING (VALUES (1)) v(id) ON items.id = v.id WHEN MATCHED THEN DO NOTHING",
        "TRUNCATE items",
        "SELECT count(*) FROM items",
        before=ITEMS,
        versions=range(15, 100),
    ),
    script(
        "transaction",
        "BEGIN",
        "INSERT INTO items VALUES (50, 'fifty', 50)",
        "SELECT * FROM items WHERE id >= 20 ORDER BY id",
        "COMMIT",
        "SELECT count(*) FROM items",
        before=ITEMS,
    ),
    script(
        "rollback",
        "START TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "DELETE FROM items",
        "ROLLBACK",
        "SELECT count(*) FROM items",
        "SHOW transaction_isolation",
        before=ITEMS,
    ),
    script(
        "failed transaction",
        "BEGIN",
        "SELECT 1/0",
        "SELECT 1",
        "COMMIT",
        "SELECT 2",
        "BEGIN; SELECT * FROM nowhere; COMMIT",
        "SELECT 3",
        "END",
    ),
    script(
        "commit and chain", "BEGIN", "COMMIT AND CHAIN", "SELECT 1", "ROLLBACK AND CHAIN", "END"
    ),
    script(
        "outside a transaction", "COMMIT", "ROLLBACK", "SAVEPOINT a", "BEGIN", "BEGIN", "ROLLBACK"
    ),
    script(
        "savepoints",
        "BEGIN",
        "SAVEPOINT a",
        "INSERT INTO items VALUES (60, 'sixty', 60)",
        "SAVEPOINT b",
        "INSERT INTO items VALUES (60, 'again', 60)",
        "ROLLBACK TO b",
        "RELEASE a",
        "SELECT name FROM items WHERE id = 60",
        "ROLLBACK TO a",
        "ROLLBACK",
        before=ITEMS,
    ),
    script(
        "error positions",
        "SELECT 1 +",
        "SELECT nosuch FROM items",
        "SELEC 1",
        "SELECT 'é', nosuch, 'ü'",
        "SELECT *\nFROM items\nWHERE nosuch = 1",
        before=ITEMS,
    ),
    script(
        "error fields",
        "INSERT INTO items VALUES (1, 'duplicate', 1)",
        "INSERT INTO items VALUES (200, NULL, 1)",
        "INSERT INTO items VALUES (200, 'x', -1)",
        "SELECT 'abc'::int",
        "SELECT '2024-02-30'::date",
        "DO $$ BEGIN RAISE EXCEPTION 'custom' USING ERRCODE = 'TG001', HINT = 'h', DETAIL = 'd',"
        " COLUMN = 'c', CONSTRAINT = 'k', DATATYPE = 't', TABLE = 'b', SCHEMA = 's'; END $$",
        "SELECT length(repeat('x', 10)::varchar(5)::text)",
        before=ITEMS,
    ),
    script(
        "notices",
        "DO $$ BEGIN RAISE NOTICE 'first'; RAISE WARNING 'second'; RAISE INFO 'third'; END $$",
        "DROP TABLE IF EXISTS never_was",
        "SET client_min_messages = error",
        "DO $$ BEGIN RAISE NOTICE 'unseen'; END $$",
    ),
    script("invalid encoding", wire.query(b"SELECT '\xff\xfe'"), "SELECT 1"),
    script(
        "implicit transaction",
        "INSERT INTO items VALUES (70, 'seventy', 1); SELECT 1/0",
        "SELECT count(*) FROM items WHERE id = 70",
        "INSERT INTO items VALUES (71, 'x', 1); COMMIT; SELECT 1/0",
        "SELECT count(*) FROM items WHERE id = 71",
        "BEGIN; INSERT INTO items VALUES (72, 'x', 1)",
        "ROLLBACK",
        before=ITEMS,
    ),
    script(
        "several queries in one packet",
        wire.query("SELECT 1"),
        "BEGIN",
        "SELECT 2",
        "COMMIT",
    ),
    script(
        "large rows",
        "SELECT repeat('x', 3000000)",
        "SELECT repeat('y', n) FROM generate_series(1, 2000) n",
    ),
    script(
        "long statement", "SELECT '" + "z" * 70000 + "' AS z", "SELECT /* " + "c" * 20000 + " */ 1"
    ),
    script("wide row", "SELECT " + ", ".join(f"{n} AS c{n}" for n in range(1600))),
    script(
        "statement outside transactions",
        "VACUUM items",
        "BEGIN",
        "VACUUM items",
        "ROLLBACK",
        "REINDEX TABLE items",
        "CREATE DATABASE template1",
        before=ITEMS,
    ),
)
