"""Prompt templates of langchain-core, with a short constructor and `explain`."""
