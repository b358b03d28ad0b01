"""The `chainkit` command; each file parses, calls and shows."""
