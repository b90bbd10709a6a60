"""JupyterHub: its configuration, the spawners, the relay into labs and the revocation epoch."""
