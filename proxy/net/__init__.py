"""The only package that touches asyncio transports, sockets and TLS."""
