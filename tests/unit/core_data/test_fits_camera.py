"""Cameras described by YAML: what they say, and errors that name file and key."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from skydesk_core.errors import DataError, NotFoundError, UsageError
from skydesk_core.home import Home
from skydesk_core.instrument.cameras import add_camera, choose_instrument, find_camera_file, list_cameras
from skydesk_core.instrument.fits_camera import CameraFile, make_fits_camera, read_camera_file


@pytest.fixture
def described() -> dict:
    return yaml.safe_load(find_camera_file("microobservatory").read_text())


def write(folder: Path, data: object) -> Path:
    path = folder / "cam.yaml"
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
    return path


def test_the_camera_that_comes_with_skydesk(described):
    camera = make_fits_camera(read_camera_file(find_camera_file("MicroObservatory"))).describe()
    detector = camera.detector(0)
    assert detector.bbox.shape == (500, 650)
    assert detector.amplifiers[0].gain is None
    assert detector.amplifiers[0].saturation == 4095
    assert camera.flip
    wcs = camera.make_wcs(0, 31.3, 46.8, 180.0)
    # Mirrored and upside down: x grows to the West, y to the South.
    here = np.array(wcs.pixel_to_world_values(324.5, 249.5))
    assert here == pytest.approx([31.3, 46.8], abs=1e-9)
    right, up = wcs.pixel_to_world_values(334.5, 249.5), wcs.pixel_to_world_values(324.5, 259.5)
    assert right[0] < 31.3
    assert up[1] < 46.8
    assert (46.8 - up[1]) * 3600 == pytest.approx(51.6, rel=1e-4)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("sky", "scale_arcsec"), -1, "key sky.scale_arcsec"),
        (("sky", "scale"), 5, "key sky.scale"),
        (("cards", "time"), None, "key cards.time"),
        (("pixels", "gain"), 0, "key pixels.gain"),
        (("pixels", "trim"), [0, 700, 0, 500], "key pixels.trim"),
        (("pixels", "saturation"), "high", "key pixels.saturation"),
        (("name",), "my camera", "key name"),
        (("filters",), {}, "key filters"),
        (("filters",), {"Clear": "no band"}, "key filters"),
        (("calibrations",), ["gain"], "key calibrations.0"),
        (("wavelengths_nm",), {"clear": [700, 400]}, "key wavelengths_nm: clear"),
        (("wavelengths_nm",), {"other": [400, 700]}, "key wavelengths_nm: other"),
    ],
)
def test_wrong_keys_are_named(tmp_path, described, path, value, message):
    section = described
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    file = write(tmp_path, described)
    with pytest.raises(DataError, match=message) as error:
        read_camera_file(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_sections_and_files_that_are_not_yaml(tmp_path, described):
    del described["pixels"]
    with pytest.raises(DataError, match="key pixels: Field required"):
        read_camera_file(write(tmp_path, described))
    with pytest.raises(DataError, match="not a mapping"):
        read_camera_file(write(tmp_path, "just text"))
    with pytest.raises(DataError, match="not YAML"):
        read_camera_file(write(tmp_path, "a: [1"))
    with pytest.raises(NotFoundError, match="no camera file"):
        read_camera_file(tmp_path / "none.yaml")


def test_registration_by_name_or_path(tmp_path, described):
    home = Home(tmp_path / "home")
    with pytest.raises(UsageError, match="--instrument is needed"):
        choose_instrument(home, None)
    add_camera(home, "microobservatory")
    assert list_cameras(home) == ["MicroObservatory"]
    assert choose_instrument(home, None) == "MicroObservatory"
    described["name"] = "Other"
    add_camera(home, str(write(tmp_path, described)))
    with pytest.raises(UsageError, match=r"known: MicroObservatory, Other, SimCam"):
        choose_instrument(home, None)
    described["name"] = "SimCam"
    with pytest.raises(UsageError, match="built-in"):
        add_camera(home, str(write(tmp_path, described)))
    with pytest.raises(NotFoundError, match="one of microobservatory"):
        add_camera(home, "hubble")


def test_every_key_is_documented():
    page = (Path(__file__).parents[3] / "docs" / "reference" / "camera-file.md").read_text()
    for name, field in CameraFile.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        for key in [f"{name}.{k}" for k in inner] if inner else [name]:
            assert f"`{key}`" in page, f"docs/reference/camera-file.md does not tell {key}"
