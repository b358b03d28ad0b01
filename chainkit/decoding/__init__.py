"""Choosing the next token: sampling, stop texts, constraints, and the one loop that every local model runs on."""
