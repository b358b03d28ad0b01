"""Words that every part of chainkit shares: standard library and numpy only."""
