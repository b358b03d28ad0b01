"""What answers a chat: models, documents, programs and chains, all through one protocol."""
