"""The section ``core`` of the platform's configuration file."""

from __future__ import annotations

from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from skydesk_core.errors import ConfigError
from skydesk_core.home import Home

__all__ = ["CoreConfig", "DemoConfig", "PublishConfig", "load_config"]

_STRICT = ConfigDict(frozen=True, extra="forbid")
_COLLECTION = r"^[A-Za-z][A-Za-z0-9_./+-]*$"


class DemoConfig(BaseModel):
    """What the demo release is made of and called."""

    model_config = _STRICT

    preset: Literal["tiny", "standard"] = Field(
        default="standard", description="Size of the simulated survey that the first start builds."
    )
    release: str = Field(
        default="demo",
        pattern=r"^[a-z][a-z0-9_]{0,30}$",
        description="Name of the release: its Butler label and its schema in TAP.",
    )
    title: str = Field(
        default="Simulated survey of the Extended Chandra Deep Field South",
        description="Title of the release for people.",
    )
    skymap: str = Field(
        default="skydesk_demo", pattern=r"^[A-Za-z]\w*$", description="Name of the skymap of the coadds."
    )
    calibration: str = Field(
        default="demo/CPP", pattern=_COLLECTION, description="Collection of the calibrations."
    )
    processing: str = Field(
        default="demo/DRP", pattern=_COLLECTION, description="Collection of the products, which is published."
    )
    truth: str = Field(
        default="demo/truth", pattern=_COLLECTION, description="Collection of the truth tables."
    )


class PublishConfig(BaseModel):
    """What publishing makes beside tables and images."""

    model_config = _STRICT

    hips: bool = Field(default=True, description="Whether HiPS of the coadds are made.")
    alerts: bool = Field(default=True, description="Whether alert packets of the DIA sources are made.")
    alert_maximum: int = Field(
        default=100_000,
        ge=1,
        description="Alert packets of one release; the latest DIA sources get none beyond it.",
    )
    alert_stamp_pixels: int = Field(
        default=41, ge=11, le=201, description="Side of the cut-outs in an alert packet, pixels."
    )
    calibration_exposures: bool = Field(
        default=False,
        description="Whether the raw exposures that bias, dark and flat were made of are published with them.",
    )


class CoreConfig(BaseModel):
    """Settings of the pipeline core."""

    model_config = _STRICT

    jobs: int = Field(
        default=2, ge=1, le=256, description="Worker processes of a pipeline unless -j names a number."
    )
    demo: DemoConfig = Field(default_factory=DemoConfig, description="The demo release.")
    publish: PublishConfig = Field(default_factory=PublishConfig, description="What publishing makes.")


def load_config(home: Home) -> CoreConfig:
    """Read the core's section of the configuration file of a home folder.

    Parameters
    ----------
    home
        The home folder; its ``config.yaml`` need not exist.

    Returns
    -------
    CoreConfig
        The settings, defaults where the file says nothing.

    Raises
    ------
    ConfigError
        Raised if the file is not YAML, or if a setting of the section is
        unknown or out of range; the message names file and setting.
    """
    path = home.config_file
    if not path.exists():
        return CoreConfig()
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must hold sections, not a {type(document).__name__}")
    try:
        return CoreConfig.model_validate(document.get("core") or {})
    except ValidationError as error:
        first = error.errors()[0]
        setting = ".".join(["core", *map(str, first["loc"])])
        raise ConfigError(f"{path}: {setting}: {first['msg']}") from error
