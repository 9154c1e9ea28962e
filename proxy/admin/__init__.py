"""What operators see: HTTP and commands."""
