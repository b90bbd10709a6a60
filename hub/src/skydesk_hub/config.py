"""The hub's section of the configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from skydesk_hub.errors import ConfigError

__all__ = ["HubConfig", "load_config"]


class HubConfig(BaseModel):
    """Settings of sign-in, processes and labs (section ``hub`` of ``config.yaml``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="Address the public proxy listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port of the public proxy; 0 takes a free one.")
    external_url: str | None = Field(
        None, pattern=r"^https?://[^/]+$", description="Address people use when it is not http://HOST:PORT."
    )
    title: str = Field("skydesk", description="Name of this platform on its pages.")
    site_type: str = Field(
        "science",
        description="Value of RSP_SITE_TYPE in labs; `lsst.rsp` serves images to `science` and `staff` only.",
    )
    announcements: list[str] = Field(default_factory=list, description="Sentences shown on the home page.")
    run_as: str | int | None = Field(
        None,
        description="Account (name or bare uid) the platform drops to when root starts it; `root` keeps root.",
    )
    build_demo: bool = Field(True, description="Build the demo release on the first start.")
    demo_preset: str = Field("standard", description="Preset of the demo release built on the first start.")
    workers: int = Field(2, ge=0, le=64, description="Number of worker processes for jobs.")
    lab_memory_mib: int = Field(
        4096, ge=512, description="Memory (PSS) a lab may use before its largest process ends."
    )
    lab_address_space_mib: int = Field(
        32768, ge=4096, description="Address space limit of each process in a lab; counts mapped files."
    )
    lab_processes: int = Field(512, ge=64, description="Number of processes and threads a lab may have.")
    lab_environment: dict[str, str] = Field(
        default_factory=dict, description="Further environment of every lab."
    )
    tutorials_dir: Path | None = Field(
        None, description="Folder shown read-only as notebooks/tutorials in labs."
    )
    docs_dir: Path | None = Field(None, description="Built documentation served at /docs.")


def load_config(path: Path, *, required: bool = False) -> HubConfig:
    """Read the hub's section of a configuration file.

    Parameters
    ----------
    path
        The YAML file; its sections ``core`` and ``portal`` belong to others.
    required
        Whether a missing file is an error.

    Returns
    -------
    HubConfig
        The settings; defaults where the file says nothing.

    Raises
    ------
    ConfigError
        When the file cannot be read or a setting is unknown or wrong.
    """
    if not path.exists() and not required:
        return HubConfig()
    try:
        data: Any = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected sections core, portal and hub")
    unknown = sorted(str(key) for key in data.keys() - {"core", "portal", "hub"})
    if unknown:
        raise ConfigError(f"{path}: unknown section {unknown[0]!r}, known are core, portal and hub")
    try:
        return HubConfig.model_validate(data.get("hub") or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["hub", *map(str, first["loc"])])
        raise ConfigError(f"{path}: {where}: {first['msg']}") from error
