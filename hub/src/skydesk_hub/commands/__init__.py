"""Commands of the hub: starting and stopping, status, users and tokens."""
