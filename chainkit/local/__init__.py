"""What models steered token by token share above their engines: settings, templates, langchain-core's words."""
