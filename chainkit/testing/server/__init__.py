"""A service on loopback that speaks OpenAI's API and fails on request; standard library only."""
