"""Tables that several scripts start with."""

ITEMS = (
    "DROP TABLE IF EXISTS items",
    "CREATE TABLE items (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20) UNIQUE, price INT)",
    "INSERT INTO items VALUES (1, 'one', 10), (2, 'two', 20), (3, 'three', NULL)",
)
TYPES = (
    "DROP TABLE IF EXISTS types",
    "CREATE TABLE types (a TINYINT, b SMALLINT UNSIGNED, c MEDIUMINT, d INT, e BIGINT UNSIGNED,"
    " f FLOAT, g DOUBLE, h DECIMAL(30,10), i CHAR(5), j VARCHAR(50), k BINARY(4), l BLOB,"
    " m LONGTEXT, n DATE, o TIME(6), p DATETIME(6), q YEAR, r ENUM('x','y'), s SET('x','y'),"
    " t BIT(9), u JSON, v GEOMETRY, w TIMESTAMP NULL)",
    "INSERT INTO types VALUES (-1, 65535, -8388608, 2147483647, 18446744073709551615, 1.5, -0.1,"
    " 12345678901234567890.0123456789, 'a', 'b', 'c', x'00ff', 'text', '2024-02-29',"
    " '-838:59:59', '9999-12-31 23:59:59.999999', 2155, 'y', 'x,y', b'101010101', '{\"a\":1}',"
    " POINT(1,2), '2001-01-01 00:00:01')",
    "INSERT INTO types (a) VALUES (NULL)",
)
PROCEDURES = (
    "DROP PROCEDURE IF EXISTS two_results",
    "CREATE DEFINER = 'app'@'%'"
    " PROCEDURE two_results(IN n INT, OUT doubled INT, INOUT text VARCHAR(20))"
    " BEGIN SELECT n; SELECT n, n + 1; SET doubled = n * 2; SET text = CONCAT(text, '!'); END",
    "DROP PROCEDURE IF EXISTS fails",
    "CREATE DEFINER = 'app'@'%' PROCEDURE fails() BEGIN SELECT 1;"
    " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'raised', MYSQL_ERRNO = 4711; END",
)
