"""The API aspect: the services over HTTP; the only place that knows statuses and media types."""
