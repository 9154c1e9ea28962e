"""Scripts of the extended protocol: named statements, portals, pipelines, errors in all of them."""

from __future__ import annotations

from tests.differential.player import script, to
from tests.differential.scripts.simple import ITEMS
from tests.support.messages import (
    FLUSH,
    SYNC,
    bind,
    close,
    describe,
    execute,
    parse,
    query,
    run,
)

BY_ID = "SELECT id, name, price FROM items WHERE id = $1"


def named(name: str, *values: str | None, portal: str = "") -> bytes:
    """Bind, describe, execute a named statement."""
    return bind(*values, name=name, portal=portal) + describe("P", portal) + execute(portal)


EXTENDED = (
    script("unnamed", run("SELECT $1::int + 1", "41") + SYNC, run("SELECT $1::text", None) + SYNC),
    script(
        "named statement",
        parse(BY_ID, "s1") + SYNC,
        named("s1", "3") + SYNC,
        named("s1", "4") + SYNC,
        describe("S", "s1") + SYNC,
        bind("5", name="s1", binary_result=True) + execute() + SYNC,
        close("S", "s1") + SYNC,
        named("s1", "6") + SYNC,
        before=ITEMS,
    ),
    script(
        "prepared in one packet and used in the next",
        parse(BY_ID, "s1", (23,)) + describe("S", "s1") + SYNC,
        bind("7", name="s1") + execute() + SYNC,
        bind("8", name="s1") + execute() + SYNC,
        before=ITEMS,
    ),
    script(
        "name used twice",
        parse("SELECT 1", "s1") + SYNC,
        parse("SELECT 2", "s1") + SYNC,
        named("s1") + SYNC,
        close("S", "s1") + parse("SELECT 2", "s1") + SYNC,
        named("s1") + SYNC,
    ),
    script(
        "name used again before the server has refused it",
        to(
            "Z",
            parse("SELEC", "s1") + SYNC,
            parse("SELECT 2", "s1") + SYNC,
            parse("SELECT 3", "s1") + SYNC,
            describe("P", "nosuch") + parse("SELECT 4", "s2") + SYNC,
            parse("SELECT 5", "s2") + SYNC,
            named("s2") + SYNC,
            parse("SELECT 6", "s3") + parse("SELECT 7", "s3") + SYNC,
            count=7,
        ),
        named("s1") + SYNC,
        named("s3") + SYNC,
    ),
    script(
        "sql that names a statement, in a transaction that failed",
        parse("SELECT 1", "s1") + parse("SELECT 2", "s2") + SYNC,
        "BEGIN",
        "SELECT 1/0",
        "DEALLOCATE s1",
        "EXECUTE s2",
        "ROLLBACK",
        "EXECUTE s2",
        "DEALLOCATE s1",
    ),
    script(
        "names that never were",
        named("nosuch") + SYNC,
        describe("S", "nosuch") + SYNC,
        close("S", "nosuch") + SYNC,
        execute("nosuch") + SYNC,
        describe("P", "nosuch") + SYNC,
        close("P", "nosuch") + SYNC,
        "SELECT 1",
    ),
    script(
        "errors in each message",
        parse("SELEC 1", "s1") + SYNC,
        parse("SELECT nosuch FROM items", "s2") + SYNC,
        named("s2") + SYNC,
        parse("SELECT $1::int", "s1") + bind("abc", name="s1") + execute() + SYNC,
        named("s1", "12") + SYNC,
        bind("1", "2", name="s1") + SYNC,
        bind(name="s1") + SYNC,
        parse("SELECT 1/$1::int", "a") + named("a", "0") + SYNC,
        named("a", "1") + SYNC,
        before=ITEMS,
    ),
    script(
        "statement parsed in a packet that fails",
        parse("SELECT 1", "s1") + parse("SELECT 1/0", "s2") + named("s2") + SYNC,
        named("s1") + SYNC,
        named("s2") + SYNC,
        parse("SELECT 3", "s1") + SYNC,
    ),
    script(
        "statement parsed after an error is not there",
        run("SELECT 1/0") + parse("SELECT 1", "s1") + SYNC,
        named("s1") + SYNC,
        parse("SELECT 2", "s1") + SYNC,
        named("s1") + SYNC,
    ),
    script(
        "statement closed after an error is still there",
        parse("SELECT 1", "s1") + SYNC,
        run("SELECT 1/0") + close("S", "s1") + SYNC,
        named("s1") + SYNC,
    ),
    script(
        "statement survives rollback",
        "BEGIN",
        parse("SELECT 1", "s1") + SYNC,
        "ROLLBACK",
        named("s1") + SYNC,
        "BEGIN",
        close("S", "s1") + SYNC,
        "ROLLBACK",
        named("s1") + SYNC,
    ),
    script(
        "statement in a failed transaction",
        parse("SELECT 1", "s1") + parse("ROLLBACK", "s2") + SYNC,
        "BEGIN",
        run("SELECT 1/0") + SYNC,
        parse("SELECT 1", "a") + SYNC,
        named("s1") + SYNC,
        describe("S", "s1") + SYNC,
        named("s2") + SYNC,
        named("s1") + SYNC,
    ),
    script(
        "unnamed statement lives on",
        parse("SELECT $1::int") + SYNC,
        bind("1") + execute() + SYNC,
        bind("2") + execute() + SYNC,
        describe("S") + SYNC,
        "SELECT 1",
        bind("3") + execute() + SYNC,
    ),
    script(
        "portals in a transaction",
        "BEGIN",
        parse("SELECT n FROM generate_series(1, 10) n", "s1")
        + bind(name="s1", portal="p1")
        + describe("P", "p1")
        + execute("p1", 3)
        + SYNC,
        execute("p1", 3) + SYNC,
        bind(name="s1", portal="p1") + SYNC,
        "ROLLBACK",
        execute("p1", 3) + SYNC,
    ),
    script(
        "portal ends with its transaction",
        parse("SELECT n FROM generate_series(1, 10) n", "s1")
        + bind(name="s1", portal="p1")
        + execute("p1", 4)
        + execute("p1", 4)
        + execute("p1", 4)
        + SYNC,
        execute("p1", 4) + SYNC,
        bind(name="s1", portal="p1") + close("P", "p1") + execute("p1") + SYNC,
    ),
    script(
        "closing a statement closes its portals",
        "BEGIN",
        parse("SELECT 1", "s1") + bind(name="s1", portal="p1") + close("S", "s1") + SYNC,
        execute("p1") + SYNC,
        "ROLLBACK",
    ),
    script(
        "pipeline of several syncs",
        to("Z", *(run("SELECT $1::int", str(n)) + SYNC for n in range(10)), count=10),
        to("Z", run("SELECT 1/0") + SYNC, run("SELECT 2") + SYNC, query("SELECT 3"), count=3),
        to(
            "Z",
            parse("SELECT 1", "s1") + SYNC,
            named("s1") + SYNC,
            close("S", "s1") + SYNC,
            count=3,
        ),
        to("Z", query("SELECT 1"), query("SELECT 1/0"), query("SELECT 3"), count=3),
    ),
    script(
        "pipeline with transactions",
        to(
            "Z", query("BEGIN"), run("SELECT 1") + SYNC, query("COMMIT"), query("SELECT 2"), count=4
        ),
        to(
            "Z",
            query("BEGIN"),
            run("SELECT 1/0") + SYNC,
            run("SELECT 1") + SYNC,
            query("END"),
            count=4,
        ),
        to(
            "Z",
            run("BEGIN") + run("SELECT 1") + run("COMMIT") + SYNC,
            run("SELECT 4") + SYNC,
            count=2,
        ),
    ),
    script(
        "implicit transaction of a pipeline",
        run("INSERT INTO items VALUES (80, 'x', 1)") + run("SELECT 1/0") + SYNC,
        "SELECT count(*) FROM items WHERE id = 80",
        run("INSERT INTO items VALUES (81, 'x', 1)") + run("SELECT 1") + SYNC,
        "SELECT count(*) FROM items WHERE id = 81",
        before=ITEMS,
    ),
    script(
        "flush without sync",
        to("1", parse("SELECT $1::int", "s1") + FLUSH),
        to("T", describe("S", "s1") + FLUSH),
        to("C", bind("9", name="s1") + execute() + FLUSH),
        to("C", bind("10", name="s1") + execute() + FLUSH),
        SYNC,
        SYNC,
        named("s1", "11") + SYNC,
    ),
    script(
        "error before flush",
        to("E", run("SELECT 1/0") + FLUSH),
        run("SELECT 1") + FLUSH + SYNC,
        named("s1") + SYNC,
    ),
    script("sync alone", SYNC, to("Z", SYNC + SYNC + SYNC, count=3), FLUSH + SYNC),
    script(
        "query in the middle of an extended batch",
        to("Z", parse("SELECT 1", "s1") + query("SELECT 2"), count=1),
        # Nothing after this: PostgreSQL itself is left in a state in which the next Bind fails
        # ("StartTransactionCommand: unexpected state STARTED"). The pool closes the connection.
        to("Z", run("SELECT 3") + query("SELECT 4") + SYNC, count=2),
    ),
    script(
        "cached plan must not change result type",
        parse("SELECT * FROM items WHERE id = $1", "s1") + SYNC,
        named("s1", "1") + SYNC,
        "ALTER TABLE items ADD COLUMN extra int DEFAULT 7",
        named("s1", "1") + SYNC,
        describe("S", "s1") + SYNC,
        "SELECT 1",
        close("S", "s1")
        + parse("SELECT * FROM items WHERE id = $1", "s1")
        + named("s1", "1")
        + SYNC,
        before=ITEMS,
    ),
    script(
        "table dropped under a statement",
        parse(BY_ID, "s1") + SYNC,
        named("s1", "1") + SYNC,
        "DROP TABLE items",
        named("s1", "1") + SYNC,
        "CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL, price numeric)",
        named("s1", "1") + SYNC,
        before=ITEMS,
    ),
    script(
        "same text under two names",
        parse("SELECT 1 AS x", "s1") + parse("SELECT 1 AS x", "s2") + SYNC,
        close("S", "s1") + SYNC,
        named("s2") + SYNC,
        named("s1") + SYNC,
    ),
    script(
        "same text with other parameter types",
        parse("SELECT $1", "s1", (23,)) + describe("S", "s1") + SYNC,
        parse("SELECT $1", "s2", (25,)) + describe("S", "s2") + SYNC,
        parse("SELECT $1", "a", (17,)) + describe("S", "a") + SYNC,
        named("s1", "1") + named("s2", "one") + named("a", "\\x01") + SYNC,
    ),
    script(
        "many statements",
        *(parse(f"SELECT {n}, $1::int", f"n{n}") + named(f"n{n}", "1") + SYNC for n in range(12)),
        *(named(f"n{n}", "2") + SYNC for n in range(12)),
    ),
    script(
        "empty and utility statements",
        parse("", "s1") + describe("S", "s1") + bind(name="s1") + execute() + SYNC,
        parse("SHOW server_version_num", "s2") + describe("S", "s2") + named("s2") + SYNC,
        run("SELECT 1; SELECT 2") + SYNC,
    ),
    script(
        "odd statement names",
        parse("SELECT 1", "a name with spaces; and 'quotes'") + SYNC,
        named("a name with spaces; and 'quotes'") + SYNC,
        parse("SELECT 2", "n" * 300) + named("n" * 300) + SYNC,
        named("é") + SYNC,
        parse("SELECT 3", "é") + named("é") + SYNC,
    ),
    script(
        "long statement under a name",
        parse("SELECT $1::text, '" + "z" * 40000 + "'", "s1") + SYNC,
        named("s1", "x" * 100000) + SYNC,
    ),
)
