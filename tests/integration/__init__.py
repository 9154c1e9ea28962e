"""The proxy from outside: real servers, real drivers, raw sockets."""
