"""The conformance kit for session layers, and the layers it is run against here."""
