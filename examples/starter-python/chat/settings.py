"""The settings, from the environment and from files with secrets."""

import os

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """A setting is a variable such as `API_KEY`, or a file such as `api_key` in the folder `SECRETS_DIR`."""

    model_config = SettingsConfigDict(secrets_dir=os.environ.get("SECRETS_DIR"))

    api_url: str = "http://127.0.0.1:3002"
    """The API of any node."""
    api_key: str
    """The key of this backend. `keys.toml` of the nodes has its hash."""
    webhook_secret: str
    """The secret that signs webhooks, as the nodes have it."""
    session_secret: str
    """The secret that signs the tokens of the login."""
    socket_url: str = "http://127.0.0.1:3000"
    """The address of a balancer, as browsers reach it."""
    accounts: dict[str, str] = {"ada": "analytical", "grace": "compiler"}
    """The accounts of the trial: names and passwords."""
