"""URLs in messages and in documents: without passwords, and without signatures in their query."""

from __future__ import annotations

import re

# "user:password@" before the host. A name alone stays: abfs://container@account is an address. A
# password may contain a slash, as keys of Amazon do. What follows host:port/ is a path.
_PASSWORD = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^\s/@]*:(?!\d{1,5}/)[^\s]*@", re.IGNORECASE
)
_QUERY = re.compile(r"(?P<address>[a-z][a-z0-9+.-]*://[^\s?'\"]+)\?[^\s'\"]*", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """A URL, or a message that contains some, without what may be secret in them."""
    return _QUERY.sub(r"\g<address>", _PASSWORD.sub(r"\g<scheme>", text))


def has_password(url: str) -> bool:
    return _PASSWORD.search(url) is not None


def has_secrets(url: str) -> bool:
    return without_secrets(url) != url
