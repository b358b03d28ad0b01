"""The endpoints of OpenAI's API, one file for each."""
