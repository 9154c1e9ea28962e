"""The MySQL protocol, as MySQL and MariaDB speak it, sans I/O."""
