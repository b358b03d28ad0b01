"""What langchain-core's templates lack."""
