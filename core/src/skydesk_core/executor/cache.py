"""Keeps what several quanta of a worker read, so that it is read and decompressed once."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from lsst.daf.butler import DatasetRef, DeferredDatasetHandle, LimitedButler, StorageClass
from lsst.pipe.base.caching_limited_butler import CachingLimitedButler

__all__ = ["COPIED_TYPES", "SHARED_TYPES", "ReadCache"]

SHARED_TYPES = frozenset({"camera", "bias", "dark", "flat", "defects", "ptc", "skyMap"})
"""Dataset types of which tasks get the same object each time and must not change it."""
COPIED_TYPES = frozenset({"visit_image", "difference_image", "template_coadd", "deep_coadd"})
"""Images that several tasks read; each gets a copy of its own."""
SHARED_KEPT = 24
COPIED_BYTES = 400 << 20


class ReadCache(CachingLimitedButler):
    """A Butler for quanta that remembers what it read.

    Only what was read from disk is kept, never what was put: a task's input
    does not depend on which worker ran the task before it. The middleware's
    own cache keeps one dataset of each type, too few for flats of several
    bands and detectors.

    Parameters
    ----------
    wrapped
        The Butler that reads and writes.
    """

    def __init__(self, wrapped: LimitedButler) -> None:
        super().__init__(wrapped)
        self._shared: OrderedDict[Any, Any] = OrderedDict()
        self._copied: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def get(
        self,
        ref: DatasetRef,
        /,
        *,
        parameters: dict[str, Any] | None = None,
        storageClass: StorageClass | str | None = None,  # noqa: N803 - the middleware's name
    ) -> Any:
        """Read a dataset, or return it as it was read before."""
        name = ref.datasetType.name
        if name in SHARED_TYPES and not parameters and storageClass is None:
            return self._get_shared(ref)
        if name in COPIED_TYPES and not parameters and storageClass is None:
            return self._get_copied(ref)
        return super().get(ref, parameters=parameters, storageClass=storageClass)

    def getDeferred(  # noqa: N802 - the middleware's name
        self,
        ref: DatasetRef,
        /,
        *,
        parameters: dict[str, Any] | None = None,
        storageClass: StorageClass | str | None = None,  # noqa: N803 - the middleware's name
    ) -> DeferredDatasetHandle:
        """Return a handle that reads through this cache."""
        return LimitedButler.getDeferred(self, ref, parameters=parameters, storageClass=storageClass)

    def _get_shared(self, ref: DatasetRef) -> Any:
        if ref.id in self._shared:
            self._shared.move_to_end(ref.id)
            return self._shared[ref.id]
        dataset = super().get(ref)
        self._shared[ref.id] = dataset
        if len(self._shared) > SHARED_KEPT:
            self._shared.popitem(last=False)
        return dataset

    def _get_copied(self, ref: DatasetRef) -> Any:
        if ref.id in self._copied:
            self._copied.move_to_end(ref.id)
            return self._copied[ref.id][0].copy()
        dataset = super().get(ref)
        box = dataset.bbox
        # Image and variance of four bytes, mask of up to four.
        size = 12 * box.y.size * box.x.size
        if size > COPIED_BYTES // 2:
            return dataset
        self._copied[ref.id] = (dataset, size)
        self._bytes += size
        while self._bytes > COPIED_BYTES:
            self._bytes -= self._copied.popitem(last=False)[1][1]
        return dataset.copy()
