"""Documents of the Virtual Observatory: values in, bytes out; it knows no storage and no HTTP."""
