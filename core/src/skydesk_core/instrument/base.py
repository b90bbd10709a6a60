"""What every instrument of skydesk has in common: registration, raw ingest, the starting WCS."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from lsst.daf.butler import Registry
from lsst.pipe.base import Instrument

from skydesk_core.instrument.camera import CameraDescription
from skydesk_core.instrument.observation import HeaderCards
from skydesk_core.instrument.raw import RawFormatter

__all__ = ["SkydeskInstrument"]


class SkydeskInstrument(Instrument):
    """An instrument whose raw files are FITS with one detector in each."""

    frame_types: ClassVar[dict[str, str]] = {}
    """Kind of frame for values of the ``type`` card that are not the kind itself."""

    region_margin_deg: float = 0.0
    """By how much a visit's region exceeds the footprint that follows from the pointing."""

    rotation_deg: float = 0.0
    """Position angle of the image's +y axis where no card tells it."""

    has_simulated: bool = False
    """Whether the pixels are simulated."""

    @classmethod
    @abstractmethod
    def describe(cls) -> CameraDescription:
        """Return the camera's description."""

    @classmethod
    @abstractmethod
    def cards(cls) -> HeaderCards:
        """Return which header card holds which fact."""

    @classmethod
    def physical_filter(cls, name: str, path: str) -> str:
        """Return the physical filter for a header's value.

        Parameters
        ----------
        name
            The value; empty if the header has none.
        path
            Name of the file, for error messages.
        """
        return name

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which the registry imports this class again."""
        return f"{cls.__module__}.{cls.__qualname__}"

    def getRawFormatter(self, dataId: Any) -> type[RawFormatter]:  # noqa: N802, N803
        """Return the formatter that reads this camera's files."""
        return RawFormatter

    def register(self, registry: Registry, *, update: bool = False) -> None:
        """Insert the records of instrument, detectors, filters and the one-to-one visit system.

        Parameters
        ----------
        registry
            A writeable registry.
        update
            Whether to change records that exist with other values.
        """
        camera = self.describe()
        name = camera.name
        with registry.transaction():
            registry.syncDimensionData(
                "instrument",
                {
                    "name": name,
                    "visit_max": 10**13,
                    "exposure_max": 10**13,
                    "detector_max": 256,
                    "visit_system": 0,
                    "class_name": self.class_name(),
                },
                update=update,
            )
            for detector in camera.detectors:
                registry.syncDimensionData(
                    "detector",
                    {
                        "instrument": name,
                        "id": detector.id,
                        "full_name": detector.name,
                        "name_in_raft": detector.name,
                        "raft": detector.raft,
                        "purpose": "SCIENCE",
                    },
                    update=update,
                )
            for filter_name, band in camera.bands.items():
                registry.syncDimensionData(
                    "physical_filter", {"instrument": name, "name": filter_name, "band": band}, update=update
                )
            registry.syncDimensionData(
                "visit_system", {"instrument": name, "id": 0, "name": "one-to-one"}, update=update
            )
