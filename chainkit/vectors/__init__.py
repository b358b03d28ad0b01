"""Texts compared by meaning: similarity, groups, pictures."""
