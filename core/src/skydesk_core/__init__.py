"""The pipeline core of skydesk as a library; it knows no HTTP, no users and no Jupyter."""
