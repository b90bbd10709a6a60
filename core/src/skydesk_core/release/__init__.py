"""Releases: the immutable folders that pipelines publish and services read."""

from skydesk_core.release.check import CheckReport, check_release
from skydesk_core.release.manifest import ImageTypeEntry, Manifest, TableEntry
from skydesk_core.release.model import ColumnInfo, ForeignKeyInfo, ReleaseSchema, TableInfo
from skydesk_core.release.opened import Release, build_dataset_pyramid, get_release, list_releases
from skydesk_core.release.pyramid import Pyramid, build_pyramid

__all__ = [
    "CheckReport",
    "ColumnInfo",
    "ForeignKeyInfo",
    "ImageTypeEntry",
    "Manifest",
    "Pyramid",
    "Release",
    "ReleaseSchema",
    "TableEntry",
    "TableInfo",
    "build_dataset_pyramid",
    "build_pyramid",
    "check_release",
    "get_release",
    "list_releases",
]
