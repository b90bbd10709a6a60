"""The routes of the server extension, one module a feature."""
