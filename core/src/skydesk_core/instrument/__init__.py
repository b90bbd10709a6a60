"""Cameras: what a detector is, how raw files are read, ingested and grouped into visits."""
