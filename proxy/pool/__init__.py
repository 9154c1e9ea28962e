"""Pool policy: who gets which server connection. Knows neither sockets nor protocols."""
