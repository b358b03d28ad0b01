"""Speakers answer chats: models, documents, programs and chains, all through one protocol."""
