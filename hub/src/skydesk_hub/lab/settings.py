"""The settings of JupyterHub: addresses, sign-in, roles, services and labs."""

from __future__ import annotations

import os
from typing import Any

from skydesk_hub.lab.epoch import install_epoch
from skydesk_hub.lab.spawner import BubblewrapSpawner, LocalSpawner
from skydesk_hub.scopes import ADMIN_SCOPES, USER_SCOPES, to_custom
from skydesk_hub.supervisor.table import Platform

__all__ = ["configure"]

BASE = "/nb"


def configure(c: Any, platform: Platform) -> None:
    """Write all settings.

    Parameters
    ----------
    c
        JupyterHub's configuration object.
    platform
        What the supervisor knows.
    """
    set_addresses(c, platform)
    set_sign_in(c, platform)
    set_rights(c, platform)
    set_labs(c, platform)
    install_epoch(platform.layout.epoch_file)


def set_addresses(c: Any, platform: Platform) -> None:
    """Say where the hub listens and how it reaches the proxy, which the supervisor owns.

    Parameters
    ----------
    c, platform
        As for `configure`.
    """
    hub, proxy = c.JupyterHub, c.ConfigurableHTTPProxy
    hub.bind_url = f"{platform.internal_url}{BASE}/"
    hub.hub_bind_url = platform.socket_url("hub")
    hub.unix_socket_permissions = 0o600
    hub.db_url = f"sqlite:///{platform.layout.hub_db}"
    hub.cookie_secret = bytes.fromhex(platform.keys.cookie_secret)
    hub.pid_file = ""
    hub.cleanup_servers = False  # labs outlive a restart of the hub; the supervisor ends them
    hub.cleanup_proxy = False
    hub.log_level = 20
    hub.tornado_settings = {"slow_spawn_timeout": 0}
    proxy.should_start = False
    proxy.api_url = platform.socket_url("proxy")
    proxy.auth_token = platform.keys.proxy_token
    proxy.check_running_interval = 5


def set_sign_in(c: Any, platform: Platform) -> None:
    """Send people to the embedded identity provider.

    Parameters
    ----------
    c, platform
        As for `configure`.
    """
    os.environ["JUPYTERHUB_CRYPT_KEY"] = platform.keys.crypt_key
    c.JupyterHub.authenticator_class = "generic-oauth"
    provider = c.GenericOAuthenticator
    oidc = "/auth/oidc"
    provider.client_id, provider.client_secret = "jupyterhub", platform.keys.oidc_secret
    provider.oauth_callback_url = f"{platform.url}{BASE}/hub/oauth_callback"
    provider.authorize_url = f"{platform.url}{oidc}/authorize"
    provider.token_url = f"{platform.internal_url}{oidc}/token"
    provider.userdata_url = f"{platform.internal_url}{oidc}/userinfo"
    provider.scope = ["openid", "profile", "email", "groups"]
    provider.username_claim = "preferred_username"
    provider.login_service = platform.config.title
    provider.enable_pkce = True
    provider.allow_all = True  # whoever may not sign in is refused by the identity provider
    provider.auto_login = True
    provider.enable_auth_state = True
    provider.manage_groups = True
    provider.auth_state_groups_key = "oauth_user.groups"
    provider.admin_groups = {"admins"}
    provider.logout_redirect_url = f"{platform.url}/auth/logout"


def set_rights(c: Any, platform: Platform) -> None:
    """Define scopes, roles and the services that act with tokens of their own.

    Parameters
    ----------
    c, platform
        As for `configure`.
    """
    everybody = to_custom(USER_SCOPES)
    admins = to_custom(ADMIN_SCOPES)
    known = USER_SCOPES | ADMIN_SCOPES
    c.JupyterHub.custom_scopes = {
        to_custom([scope])[0]: {"description": text} for scope, text in known.items()
    }
    stewards = [
        "proxy",
        "read:hub",
        "admin:users",
        "list:users",
        "admin:servers",
        "tokens",
        *everybody,
        *admins,
    ]
    c.JupyterHub.load_roles = [
        {"name": "user", "scopes": ["self", "access:services!service=portal", *everybody]},
        {"name": "skydesk-admin", "scopes": admins, "groups": ["admins"]},
        {"name": "steward", "scopes": stewards, "services": ["ops", "identity"]},
    ]
    c.JupyterHub.services = [
        {"name": "ops", "api_token": platform.keys.ops_token},
        {"name": "identity", "api_token": platform.keys.identity_token},
        {
            "name": "portal",
            "api_token": platform.keys.portal_token,
            "oauth_client_id": "service-portal",
            "oauth_redirect_uri": f"{platform.url}/portal/app/oauth_callback",
            "oauth_no_confirm": True,
            "oauth_client_allowed_scopes": [
                "access:services!service=portal",
                "read:users:groups!user",
                *everybody,
            ],
        },
    ]


def set_labs(c: Any, platform: Platform) -> None:
    """Say how labs are started and what their token may do.

    Parameters
    ----------
    c, platform
        As for `configure`.
    """
    c.JupyterHub.spawner_class = LocalSpawner if platform.single_user else BubblewrapSpawner
    spawner = c.Spawner
    spawner.default_url = "/lab"
    spawner.start_timeout = spawner.http_timeout = 120
    spawner.poll_interval = 10
    spawner.server_token_scopes = [
        "users:activity!user",
        "access:servers!server",
        "read:users:name!user",
        "read:users:groups!user",
        *to_custom(USER_SCOPES),
    ]
    spawner.oauth_client_allowed_scopes = ["read:users:groups!user"]
    local = c.LocalProcessSpawner
    local.interrupt_timeout = local.term_timeout = local.kill_timeout = 1
