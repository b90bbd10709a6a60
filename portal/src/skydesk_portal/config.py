"""Settings of the portal's processes; the only module that reads the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    SecretStr,
    ValidationError,
    field_validator,
)

from skydesk_portal.exceptions import ConfigError

__all__ = [
    "ArchiveConfig",
    "DistributedConfig",
    "GrantConfig",
    "PortalConfig",
    "PortalSettings",
    "QuotaConfig",
    "load_config",
]


type _Host = Annotated[str, Field(pattern=r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d{1,5})?$")]


class QuotaConfig(BaseModel):
    """What one person may use of the services; 0 means no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    requests_per_minute: dict[str, NonNegativeInt] = {"default": 6000, "hips": 0}
    """Requests by service: `tap`, `sia`, `cutout`, `datalink`, `batch` and so on, `default` for those not named."""

    concurrent: dict[str, NonNegativeInt] = {"default": 64, "batch": 4}
    """Queries, cut-outs or runs at the same time by service."""

    active_jobs: NonNegativeInt = 100
    """Jobs of one service that are queued or running."""

    kept_jobs: NonNegativeInt = 10_000
    """Jobs that are kept in all."""

    result_bytes: NonNegativeInt = 50_000_000_000
    """Size of all results that are kept."""


class GrantConfig(BaseModel):
    """What the members of a group get on top of that."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    requests_per_minute: dict[str, NonNegativeInt] = {}
    concurrent: dict[str, NonNegativeInt] = {}
    active_jobs: NonNegativeInt = 0
    kept_jobs: NonNegativeInt = 0
    result_bytes: NonNegativeInt = 0


class ArchiveConfig(BaseModel):
    """A service of another archive that the Portal may ask what it has at a position."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: str = Field(min_length=1, max_length=60)
    """What people see."""

    kind: Literal["cone", "sia1", "sia2"]
    """Its protocol: Simple Cone Search, or Simple Image Access 1.0 or 2.0."""

    url: str = Field(pattern=r"^https?://[^/]+.*")
    """Address to which the parameters are appended."""

    image_hosts: tuple[str, ...] = ()
    """Hosts (with `:port` where it is not the usual one) besides its own that its images may be fetched from."""


class DistributedConfig(BaseModel):
    """A Spark cluster that reads the parquet files of some releases."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    url: str = Field(pattern=r"^sc://[^/;@?#]+(/(;use_ssl=true)?)?$")
    """Spark Connect server, `sc://host:port`, with `/;use_ssl=true` behind it where TLS stands before the server."""

    token_file: Path
    """File (mode 600) with the token that the server asks for (`spark.connect.authenticate.token`)."""

    releases: dict[str, str] = Field(min_length=1)
    """By name of a release its folder as the cluster sees it, such as `/data/releases/dr1` or `s3a://bucket/dr1`."""

    local_rows: NonNegativeInt = 5_000_000
    """A query that need not look at more rows of a table than this stays with the indexed engine."""

    @field_validator("url")
    @classmethod
    def _keep_token_private(cls, url: str) -> str:
        here = urlsplit(url).hostname in {"127.0.0.1", "localhost"}
        if not here and not url.endswith("use_ssl=true"):
            raise ValueError("it is another machine: put TLS before the server and add /;use_ssl=true")
        return url


class PortalConfig(BaseModel):
    """Section ``portal`` of ``config.yaml``: what an operator may tune."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    site_name: str = "skydesk"
    """Name of the platform in discovery documents and titles."""

    sync_seconds: int = Field(60, ge=1, le=3600)
    """Longest run of a synchronous query or cut-out."""

    execution_seconds: int = Field(4 * 3600, ge=1)
    """Longest run of an asynchronous job; also what a job gets unless it asks for less."""

    retention_days: float = Field(7.0, gt=0)
    """How long a finished job and its results are kept."""

    default_rows: int = Field(1_000_000, ge=1)
    """Rows returned by a query that gives no MAXREC."""

    maximum_rows: int = Field(100_000_000, ge=1)
    """Largest MAXREC that is honoured."""

    cache_seconds: float = Field(300.0, ge=0)
    """How long the answer to a query is kept for whoever asks the same of the same releases; 0 keeps none."""

    cache_bytes: int = Field(2_000_000_000, ge=0)
    """Size of all kept answers together."""

    resultset_bytes: int = Field(10_000_000_000, ge=1_000_000)
    """How much the Catalogs page keeps of one person's results; the longest unused one goes first."""

    resultset_hours: float = Field(24.0, gt=0)
    """How long the Catalogs page keeps a result that nobody looks at."""

    history_days: float = Field(90.0, gt=0)
    """How long the queries of a person are remembered."""

    history_queries: int = Field(1000, ge=1)
    """Queries remembered of each person."""

    upload_bytes: int = Field(32_000_000, ge=1000)
    """Largest uploaded table."""

    tables_bytes: int = Field(10_000_000_000, ge=1000)
    """How much the tables of one user may take; those that were dropped and can be restored count."""

    tables_undo_days: float = Field(7.0, ge=0)
    """How long a dropped table can be restored."""

    query_threads: int = Field(4, ge=1, le=64)
    """Synchronous queries that run at the same time in one process."""

    long_answers: int = Field(2, ge=1, le=64)
    """Synchronous answers of more than 4 MB that one process makes at the same time; others wait for their turn."""

    engine_threads: int = Field(2, ge=1, le=256)
    """Threads of the catalogue engine in one process."""

    engine_memory_mb: int = Field(1200, ge=100)
    """Memory limit of the catalogue engine in one process; the process itself takes up to 800 MB besides."""

    rows_per_second: float = Field(50_000_000.0, gt=0)
    """Rows that one step of a query takes in a second on this machine, about; estimates of run times build on it."""

    spill_mb: int = Field(8000, ge=0)
    """Disk that the catalogue engine of one process may use for what does not fit into its memory; 0 forbids that."""

    batch_processes: int = Field(2, ge=1, le=256)
    """Worker processes of one batch job."""

    cutout_pixels: int = Field(36_000_000, ge=1)
    """Largest cut-out in pixels."""

    bulk_cutouts: int = Field(200_000, ge=1)
    """Largest number of positions, and of cut-outs, of one bulk job."""

    link_seconds: int = Field(900, ge=10)
    """How long a signed link to a file stays valid."""

    files_bytes: int = Field(40_000_000_000, ge=1000)
    """How much the home folder of one user may hold when something is written by WebDAV or VOSpace."""

    lease_seconds: float = Field(15.0, gt=1)
    """A worker that has not reported for this long loses its job."""

    short_seconds: float = Field(60.0, gt=1)
    """A job that runs longer than this leaves the lane of short jobs and begins anew in that of long ones."""

    wait_seconds: int = Field(60, ge=1, le=600)
    """Longest time that a request with WAIT blocks, also for WAIT=-1."""

    archive_days: float = Field(365.0, gt=0)
    """How long the record of an archived job is kept; its results go at once."""

    jobs_database: str | None = None
    """PostgreSQL database for the jobs, such as `postgresql://skydesk@db.example/jobs`; none means `jobs.sqlite`."""

    jobs_password_file: Path | None = None
    """File (mode 600) with the password of that database, if it asks for one."""

    alert_days: float = Field(30.0, gt=0)
    """How long the delivery log of a subscription to alerts is kept, and what was issued waits for a paused one."""

    alert_webhooks: tuple[str, ...] = ()
    """Beginnings of the addresses that subscriptions to alerts may send to, such as `https://hooks.example.org/`;
    none forbids it. Hosts in private networks are never asked."""

    notice_days: float = Field(30.0, gt=0)
    """How long a notice is kept for its person."""

    notice_seconds: float = Field(60.0, ge=0)
    """A job that ran longer than this gives a notice when it ends; a shorter one only if that was asked for."""

    announcements: tuple[str, ...] = ()
    """Sentences for everybody that the first page of the Portal begins with, such as times of maintenance."""

    page_seconds: float = Field(90.0, ge=1, le=3600)
    """How long the session of an open page waits for a network that is away; afterwards the page restores itself from its
    address. The session of a page that was closed does not wait."""

    name_resolver: str | None = Field(None, pattern=r"^https?://.+")
    """Service that the search box asks for names of objects: the name is appended to this address, and the answer is
    that of Sesame of the CDS with `-oI`. None looks up no names, and nothing leaves the platform."""

    archives: tuple[ArchiveConfig, ...] = ()
    """Archives outside that people may ask on the page of the search box; none without it, and nothing leaves the platform."""
    image_hosts: tuple[_Host, ...] = ()
    """Hosts from which the image view fetches FITS files that people name by address, such as `archive.example.org` or
    `*.example.org`, with `:port` where it is not the usual one. They must be on the public internet. Without any, only
    addresses of this platform are opened."""

    distributed: DistributedConfig | None = None
    """A Spark cluster that does the scans and joins of some releases; none without it."""

    request_bytes: int = Field(80_000_000, ge=10_000)
    """Largest request; files that are streamed to disk are not bound by it."""

    quota: QuotaConfig = QuotaConfig()
    """What one person may use of the services; 0 means no limit."""

    group_quotas: dict[str, GrantConfig] = {}
    """What members of a group get on top: by group the same keys as `quota`."""

    unlimited_groups: tuple[str, ...] = ()
    """Groups whose members no limit holds for."""

    @field_validator("alert_webhooks")
    @classmethod
    def _name_whole_hosts(cls, beginnings: tuple[str, ...]) -> tuple[str, ...]:
        for beginning in beginnings:
            parts = urlsplit(beginning)
            # Without the slash behind it, a name could be continued to that of another host.
            if parts.scheme != "https" or not parts.hostname or not parts.path.startswith("/"):
                raise ValueError(f"{beginning!r} is not an https address with a slash behind the host")
        return beginnings


class PortalSettings(BaseModel):
    """Everything one portal process has to know.

    Parameters
    ----------
    home
        The platform's home folder.
    run
        Private folder of sockets, epoch and status files.
    url
        Public base address that links in answers begin with, no slash at the end.
    hub_api
        Base address of the hub's REST interface; ``http+unix://`` names a socket.
    epoch
        File whose eight bytes change whenever a token loses rights.
    local_user
        The one local person when the platform serves nobody else.
    jobs_password
        Password of the job database, if one is configured.
    distributed_token
        Token of the distributed engine, if one is configured.
    portal
        What the configuration file says.
    """

    model_config = ConfigDict(frozen=True)

    home: Path
    run: Path
    url: str
    hub_api: str | None = None
    epoch: Path | None = None
    local_user: str | None = None
    jobs_password: SecretStr | None = None
    distributed_token: SecretStr | None = None
    portal: PortalConfig = PortalConfig()

    @property
    def releases(self) -> Path:
        """The folder of published releases."""
        return self.home / "releases"

    @property
    def results(self) -> Path:
        """The folder of job results."""
        return self.home / "results"

    @property
    def users(self) -> Path:
        """The folder with one folder per user."""
        return self.home / "users"

    @property
    def tables(self) -> Path:
        """The folder of people's tables, one folder per user; labs do not see it."""
        return self.home / "tables"

    @property
    def cache(self) -> Path:
        """The folder of what can be made again."""
        return self.home / "cache"

    @property
    def history_file(self) -> Path:
        """The database of past queries."""
        return self.home / "queries.sqlite"

    @property
    def alerts_file(self) -> Path:
        """The database of the alert stream and of subscriptions to it."""
        return self.home / "alerts.sqlite"

    @property
    def jobs_file(self) -> Path:
        """The job database."""
        return self.home / "jobs.sqlite"


def _read_section(path: Path) -> PortalConfig:
    if not path.exists():
        return PortalConfig()
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {str(error).splitlines()[0]}") from error
    section = document.get("portal") or {} if isinstance(document, dict) else None
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: section portal is not a mapping")
    try:
        return PortalConfig(**section)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{path}: portal.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _read_secret(path: Path | None, setting: str) -> SecretStr | None:
    if path is None:
        return None
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: others may read this file; run: chmod 600 {path}")
        return SecretStr(path.read_text().strip())
    except OSError as error:
        raise ConfigError(f"{setting}: {path} cannot be read: {error.strerror}") from error


def load_config(environment: dict[str, str] | None = None) -> PortalSettings:
    """Read the settings from the environment and the home folder.

    Parameters
    ----------
    environment
        Variables to read instead of the process's own.

    Returns
    -------
    PortalSettings
        The checked settings.

    Raises
    ------
    ConfigError
        If ``SKYDESK_HOME`` is missing or ``config.yaml`` is wrong.
    """
    env = dict(os.environ) if environment is None else environment
    if not env.get("SKYDESK_HOME"):
        raise ConfigError("SKYDESK_HOME is not set: the portal's processes are started by `skydesk up`")
    home = Path(env["SKYDESK_HOME"]).absolute()
    epoch = env.get("SKYDESK_EPOCH")
    portal = _read_section(home / "config.yaml")
    return PortalSettings(
        home=home,
        run=Path(env.get("SKYDESK_RUN") or home / "run"),
        url=(env.get("SKYDESK_URL") or "http://127.0.0.1:8000").rstrip("/"),
        hub_api=env.get("SKYDESK_HUB_API") or None,
        epoch=Path(epoch) if epoch else None,
        local_user=env.get("SKYDESK_LOCAL_USER") or None,
        jobs_password=_read_secret(portal.jobs_password_file, "portal.jobs_password_file"),
        distributed_token=_read_secret(
            portal.distributed.token_file if portal.distributed is not None else None,
            "portal.distributed.token_file",
        ),
        portal=portal,
    )
