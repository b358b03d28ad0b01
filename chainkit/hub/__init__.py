"""Models on a Hugging Face hub: what a repository has, which of its files are meant, and how they come here."""
