"""Geometry of a detector as lsst.images stores it with an image."""

from __future__ import annotations

import numpy as np
from lsst.images.cameras import CameraFrameSet, Detector, DetectorAttributes, DetectorType, Orientation

from skydesk_core.instrument.camera import CameraDescription

__all__ = ["make_detector"]

PIXEL_MM = 0.01
"""Nominal pixel size that gives the focal plane a length; no camera description needs another."""


def make_detector(camera: CameraDescription, detector: int, visit: int) -> Detector:
    """Make the detector that a VisitImage carries.

    Parameters
    ----------
    camera
        The camera.
    detector
        Number of the detector.
    visit
        Visit that the image belongs to.

    Notes
    -----
    The constructor of the frame set is declared private by lsst.images, hence
    this one module for it.
    """
    from lsst.images._transforms import _ast as ast

    d = camera.detector(detector)
    height, width = d.bbox.shape
    centre = [(width - 1) / 2 - d.offset_x, (height - 1) / 2 - d.offset_y]
    rad_per_mm = np.radians(camera.scale_arcsec / 3600) / PIXEL_MM
    frames = ast.FrameSet(ast.Frame(2, "Ident=FOCAL_PLANE, Unit(1)=mm, Unit(2)=mm"))
    field_angle = ast.Frame(2, "Ident=FIELD_ANGLE, Unit(1)=rad, Unit(2)=rad")
    frames.addFrame(1, ast.ZoomMap(2, rad_per_mm), field_angle)
    to_pixel = ast.CmpMap(ast.ZoomMap(2, 1 / PIXEL_MM), ast.ShiftMap(centre), True)
    frames.addFrame(1, to_pixel, ast.Frame(2, f"Ident=DETECTOR_{detector}"))
    attributes = DetectorAttributes(
        name=d.name,
        id=d.id,
        type=DetectorType.SCIENCE,
        serial=d.name,
        bbox=d.bbox.box,
        pixel_size=PIXEL_MM,
        physical_type="CCD",
        orientation=Orientation(
            focal_plane_x=d.offset_x * PIXEL_MM, focal_plane_y=d.offset_y * PIXEL_MM, focal_plane_z=0.0
        ),
    )
    return Detector(attributes, [], CameraFrameSet(camera.name, frames), visit=visit)
