"""One file or folder for each library or service that runs models; none imports another."""
