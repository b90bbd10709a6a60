"""The API and Portal aspects of skydesk."""
