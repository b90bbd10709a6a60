"""The worker processes, which do the jobs."""
