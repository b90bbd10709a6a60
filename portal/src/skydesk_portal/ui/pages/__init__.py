"""The pages: each module builds one from the services and the request."""
