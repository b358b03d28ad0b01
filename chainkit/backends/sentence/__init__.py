"""Sentence embeddings on the CPU without torch: all-MiniLM-L6-v2 and models built like it."""

from chainkit.backends.sentence.embeddings import SentenceEmbeddings
from chainkit.backends.sentence.static import StaticEmbeddings
from chainkit.backends.sentence.tokens import TextTruncated

__all__ = ["SentenceEmbeddings", "StaticEmbeddings", "TextTruncated"]
