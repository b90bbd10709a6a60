"""The Portal aspect: pages for images, catalogs, light curves and jobs."""
