"""Accounts and tokens. Replace the accounts by those of your application."""

import hashlib
import hmac
import os
import time

import jwt

LIFETIME = 12 * 60 * 60
"""The seconds for which a token is valid."""


class Accounts:
    """Accounts in memory, with hashed passwords."""

    def __init__(self, accounts: dict[str, str]) -> None:
        self._salt = os.urandom(16)
        self._hashes = {name: self._hash(password) for name, password in accounts.items()}

    def accept(self, name: str, password: str) -> bool:
        """Return whether the password is that of the account."""
        # An unknown name takes as long as a wrong password.
        return hmac.compare_digest(self._hashes.get(name, b""), self._hash(password))

    def _hash(self, password: str) -> bytes:
        return hashlib.scrypt(password.encode(), salt=self._salt, n=1 << 14, r=8, p=1)


class Tokens:
    """Tokens that say who has logged in: JSON Web Tokens."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def issue(self, name: str) -> str:
        """Return a token for the account."""
        return jwt.encode({"sub": name, "exp": int(time.time()) + LIFETIME}, self._secret, "HS256")

    def name(self, token: object) -> str | None:
        """Return the account of a token, unless the token is forged or has expired."""
        try:
            claims = jwt.decode(str(token), self._secret, ["HS256"], options={"require": ["sub", "exp"]})
        except jwt.InvalidTokenError:
            return None
        return str(claims["sub"])
