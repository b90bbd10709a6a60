"""The data services over a synthetic release that has HiPS and alerts too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from skydesk_core.release.testing import make_synthetic_release
from skydesk_portal.api.app import create_app
from skydesk_portal.config import PortalSettings
from skydesk_portal.factory import create_factory
from skydesk_portal.testing import FakeIdentityClient
from tests.support.services import ANN, IDENTITIES

PRODUCTS_URL = "http://services.example"


@pytest.fixture(scope="session")
def products_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the release ``maps``; tests must not change it."""
    home = tmp_path_factory.mktemp("products")
    (home / "run").mkdir()
    make_synthetic_release(home / "releases" / "maps", "maps", objects=300, visits=12, products=True)
    return home


@pytest.fixture(scope="session")
def products(products_home: Path) -> Iterator[TestClient]:
    """A client of the services in this process, signed in as somebody with every scope."""
    settings = PortalSettings(home=products_home, run=products_home / "run", url=PRODUCTS_URL)
    factory = create_factory(settings, FakeIdentityClient(IDENTITIES))
    with TestClient(create_app(settings, factory), base_url=PRODUCTS_URL) as client:
        client.headers["Authorization"] = f"Bearer {ANN}"
        yield client
