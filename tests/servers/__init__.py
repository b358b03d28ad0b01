"""Services that tests talk to over loopback."""
