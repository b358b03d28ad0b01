"""Answers from the user's own documents."""
