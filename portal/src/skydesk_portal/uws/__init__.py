"""The job engine of UWS 1.1: what a store of jobs must do; it knows no SQL and no HTTP."""
