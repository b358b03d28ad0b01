"""Chains of models, prompts and functions."""
