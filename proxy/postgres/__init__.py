"""The PostgreSQL protocol, sans I/O."""
