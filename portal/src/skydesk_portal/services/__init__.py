"""What the portal does, without knowing HTTP: each service takes an identity and values, and gives values."""
