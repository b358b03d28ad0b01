"""Models of Hugging Face's transformers: one decode loop of ours on the library's forward pass and caches."""
