"""The runtime of local models: requests, sessions, the scheduler, settings, templates, langchain-core's words."""
