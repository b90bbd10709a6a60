"""Sign-in, JupyterHub, tokens, the supervisor and the skydesk command."""
