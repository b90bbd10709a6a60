"""The embedded identity provider, the token pages and the home page."""
