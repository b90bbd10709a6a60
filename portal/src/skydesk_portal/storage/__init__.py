"""Where jobs are kept and catalogues are asked; the only place with SQL of their engines."""
