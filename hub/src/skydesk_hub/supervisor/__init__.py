"""The supervisor: starts, watches, restarts and ends every process of the platform."""
