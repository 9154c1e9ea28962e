SELECT repeat('x', 1048576);
