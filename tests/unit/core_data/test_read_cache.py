"""The workers' cache of what they read: shared calibrations, private copies of images, bounded memory."""

import numpy as np
import pytest
from lsst.daf.butler import DatasetType
from lsst.images import Box, Image, MaskedImage, MaskPlane, MaskSchema

from skydesk_core.executor import cache as module
from skydesk_core.executor.cache import ReadCache
from skydesk_core.repo import create_repo, open_repo
from skydesk_core.skymap import make_skymap, register_skymap


@pytest.fixture
def refs(tmp_path):
    create_repo(tmp_path)
    with open_repo(tmp_path, writeable=True) as butler:
        butler.collections.register("r")
        for name in ("a", "b", "c"):
            register_skymap(butler, make_skymap(name, 10, 20, 0.2, (1, 1), (100, 100)))
        kind = DatasetType("visit_image", ("skymap",), "MaskedImageV2", universe=butler.dimensions)
        butler.registry.registerDatasetType(kind)
        box = Box.factory[0:100, 0:100]
        image = MaskedImage(
            Image(np.ones((100, 100), np.float32), bbox=box),
            mask_schema=MaskSchema([MaskPlane("SAT", "saturated")]),
        )
        refs = [butler.put(image, kind, run="r", skymap=name) for name in ("a", "b", "c")]
        yield butler, refs


def test_images_are_read_once_and_every_reader_gets_a_copy(refs, monkeypatch):
    butler, (ref, *_) = refs
    reads = []
    original = type(butler).get
    monkeypatch.setattr(type(butler), "get", lambda self, r, **k: reads.append(r) or original(self, r, **k))
    cache = ReadCache(butler)
    first = cache.get(ref)
    first.image.array[...] = 7
    second = cache.getDeferred(ref).get()
    assert float(second.image.array.max()) == 1
    assert len(reads) == 1
    assert cache.get(ref.makeComponentRef("bbox")).y.size == 100


def test_calibrations_are_shared(refs):
    butler, _ = refs
    ref = butler.find_dataset("skyMap", skymap="a", collections="skymaps")
    cache = ReadCache(butler)
    assert cache.get(ref) is cache.get(ref)


def test_memory_is_bounded(refs, monkeypatch):
    butler, refs_ = refs
    monkeypatch.setattr(module, "COPIED_BYTES", 250_000)
    cache = ReadCache(butler)
    for ref in refs_:
        cache.get(ref)
    assert list(cache._copied) == [refs_[1].id, refs_[2].id]
    monkeypatch.setattr(module, "COPIED_BYTES", 100_000)
    small = ReadCache(butler)
    small.get(refs_[0])
    assert not small._copied
