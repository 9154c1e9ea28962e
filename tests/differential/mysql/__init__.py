"""The MySQL conversations, direct and through a shared pool of one, compared packet by packet."""
