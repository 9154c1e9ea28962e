"""Scripts of COPY in both protocols, function calls and notifications."""

from __future__ import annotations

from tests.differential.player import script, to
from tests.differential.scripts.simple import ITEMS
from tests.support.messages import (
    COPY_DONE,
    FLUSH,
    SYNC,
    bind,
    copy_data,
    copy_fail,
    execute,
    function_call,
    parse,
    query,
    run,
)

INTO = "COPY items FROM STDIN"
OID_OF_INT4PL = 177
OID_OF_INT4DIV = 154

STREAMS = (
    script(
        "copy out",
        "COPY items TO STDOUT",
        "COPY (SELECT * FROM items WHERE false) TO STDOUT (FORMAT csv, HEADER)",
        "COPY items TO STDOUT (FORMAT binary)",
        "COPY (SELECT 1/(5 - n) FROM generate_series(1, 10) n) TO STDOUT",
        "SELECT 1",
        before=ITEMS,
    ),
    script(
        "copy in",
        to("G", query(INTO)),
        copy_data(b"90\tninety\t9\n")
        + copy_data(b"91\tninety-")
        + copy_data(b"one\t9\n")
        + COPY_DONE,
        to("G", query(INTO)),
        COPY_DONE,
        "SELECT * FROM items WHERE id > 20 ORDER BY id",
        before=ITEMS,
    ),
    script(
        "copy in fails by the client",
        to("G", query(INTO)),
        copy_data(b"90\tninety\t9\n") + copy_fail("changed my mind"),
        "SELECT count(*) FROM items",
        before=ITEMS,
    ),
    script(
        "copy in fails by the server",
        to("G", query(INTO)),
        copy_data(b"1\tduplicate\t9\n") + COPY_DONE,
        to("G", query(INTO)),
        copy_data(b"not a number\n") + copy_data(b"5\tx\t1\n") * 20 + COPY_DONE,
        to("G", query(INTO)),
        copy_data(b"too\tmany\tcolumns\there\n") + copy_fail("x"),
        "SELECT count(*) FROM items",
        before=ITEMS,
    ),
    script(
        "copy in one packet",
        query(INTO) + copy_data(b"90\tninety\t9\n") + COPY_DONE,
        to("Z", query(INTO) + copy_data(b"91\tx\t9\n") + COPY_DONE, query("SELECT 1"), count=2),
        to("Z", query(INTO) + copy_data(b"x\n") + COPY_DONE, query("SELECT 2"), count=2),
        before=ITEMS,
    ),
    script(
        "copy among statements",
        to("G", query(f"SELECT 1; {INTO}; SELECT 2")),
        copy_data(b"92\tx\t9\n") + COPY_DONE,
        to("G", query(f"{INTO}; {INTO}")),
        to("G", copy_data(b"93\tx\t9\n") + COPY_DONE),
        copy_data(b"94\tx\t9\n") + COPY_DONE,
        "SELECT count(*) FROM items",
        before=ITEMS,
    ),
    script(
        "copy in a transaction",
        "BEGIN",
        to("G", query(INTO)),
        copy_data(b"90\tninety\t9\n") + COPY_DONE,
        "ROLLBACK",
        "SELECT count(*) FROM items",
        before=ITEMS,
    ),
    script(
        "extended copy out",
        run("COPY items TO STDOUT") + SYNC,
        run("COPY (SELECT 1/(5 - n) FROM generate_series(1, 10) n) TO STDOUT") + SYNC,
        run("SELECT 1") + SYNC,
        before=ITEMS,
    ),
    script(
        "extended copy in",
        to("G", parse(INTO) + bind() + execute() + FLUSH),
        copy_data(b"95\tx\t9\n") + COPY_DONE + SYNC,
        to("G", parse(INTO, "s1") + bind(name="s1") + execute() + SYNC),
        copy_data(b"96\tx\t9\n") + COPY_DONE + SYNC,
        to("G", bind(name="s1") + execute() + FLUSH),
        copy_data(b"97\tx\t9\n") + copy_fail("no") + SYNC,
        to("G", bind(name="s1") + execute() + FLUSH),
        copy_data(b"1\tduplicate\t9\n") + COPY_DONE + SYNC,
        to("G", bind(name="s1") + execute() + FLUSH),
        copy_data(b"not a number\n") + COPY_DONE + SYNC,
        "SELECT count(*) FROM items",
        before=ITEMS,
    ),
    script(
        "extended copy in one packet",
        parse(INTO) + bind() + execute() + copy_data(b"98\tx\t9\n") + COPY_DONE + SYNC,
        run("SELECT 1") + SYNC,
        parse(INTO) + bind() + execute() + copy_data(b"bad\n") + COPY_DONE + SYNC,
        run("SELECT 2") + SYNC,
        before=ITEMS,
    ),
    script(
        "a query instead of copy data",
        to("G", query(INTO)),
        to("", query("SELECT 1")),
        before=ITEMS,
        shared=False,
    ),
    script(
        "copy messages outside a copy",
        copy_data(b"x") + COPY_DONE + copy_fail("y") + query("SELECT 1"),
        copy_data(b"x") + SYNC,
    ),
    script(
        "function call",
        function_call(OID_OF_INT4PL, b"20", b"22"),
        function_call(OID_OF_INT4DIV, b"1", b"0"),
        function_call(999999),
        "BEGIN",
        function_call(OID_OF_INT4PL, b"1", b"2"),
        function_call(OID_OF_INT4DIV, b"1", b"0"),
        "ROLLBACK",
        "SELECT 1",
    ),
    script(
        "notify from within",
        "LISTEN news",
        "NOTIFY news, 'hello'",
        "BEGIN",
        "NOTIFY news, 'later'",
        "SELECT 1",
        "COMMIT",
        "UNLISTEN *",
        "NOTIFY news, 'unheard'",
        "SELECT 1",
        shared=False,
    ),
)
