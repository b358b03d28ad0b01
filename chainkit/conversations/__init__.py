"""Conversations that are kept, found again, exported and carried from one model to another."""
