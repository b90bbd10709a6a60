"""Simulation of a small survey through SimCam: the sky, the optics, the detectors, and the truth about them."""
