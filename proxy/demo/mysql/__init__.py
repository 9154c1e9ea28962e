"""The demonstration with MySQL or MariaDB, from this machine or from Docker."""
