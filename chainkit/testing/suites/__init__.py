"""Suites of tests that a model for langchain-core should pass; a test file subclasses them."""
