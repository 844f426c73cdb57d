"""JSON Web Tokens signed with RS256, the only algorithm that Google's ID tokens use."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa


class InvalidToken(ValueError):
    """A token that is malformed, or not signed by the expected key."""


def sign(claims: Mapping[str, Any], key: rsa.RSAPrivateKey, key_id: str) -> str:
    """Return a signed token with these claims."""
    head = {"alg": "RS256", "kid": key_id, "typ": "JWT"}
    signed = f"{_encode(json.dumps(head).encode())}.{_encode(json.dumps(claims).encode())}"
    return f"{signed}.{_encode(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def verify(token: str, key: rsa.RSAPublicKey) -> dict[str, Any]:
    """Return the claims of a token that this key signed.

    Raises `InvalidToken`. The claims themselves are not checked.
    """
    signed, _, signature = token.rpartition(".")
    try:
        key.verify(_decode(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature as error:
        raise InvalidToken("the signature is wrong") from error
    return read_unverified(token)


def read_unverified(token: str) -> dict[str, Any]:
    """Return the claims of a token without verifying its signature.

    Raises `InvalidToken`.
    """
    try:
        claims = json.loads(_decode(token.split(".")[1]))
    except (ValueError, LookupError) as error:
        raise InvalidToken("not a JWT") from error
    if not isinstance(claims, dict):
        raise InvalidToken("the claims are not an object")
    return claims


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
