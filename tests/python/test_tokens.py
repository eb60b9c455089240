"""Tokens of PyJWT, with python-socketio on `sociable-node`."""

import json
import os
import pathlib
import subprocess
import tempfile
import time
import unittest

import jwt
import socketio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from app import PATIENCE

SECRET = "a secret of these tests, which is long enough for HS512: 64 bytes"
NAMESPACE = "/chat"


def claims(**changes):
    return {"sub": "ann", "aud": "chat", "exp": time.time() + 600, **changes}


class Node:
    """A node whose namespace `/chat` checks tokens by these settings."""

    def __init__(self, case, settings):
        binary = os.environ.get("NODE_BIN")
        if not binary:
            raise RuntimeError("NODE_BIN must be the path of sociable-node (`cargo xtask test` sets it)")
        config = case.file(f'demo = "off"\n[namespaces."{NAMESPACE}".jwt]\naudience = "chat"\n{settings}')
        self._process = subprocess.Popen([binary, "--port", "0", "--config", config], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        case.addCleanup(self.stop)
        line = self._process.stdout.readline()
        if not line.startswith("listening on "):
            raise RuntimeError(f"the node ended at its start: {line!r}")
        self.url = line.removeprefix("listening on ").strip()

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


class Tokens(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, text):
        path = self.folder / f"{len(list(self.folder.iterdir()))}"
        path.write_text(text)
        return str(path)

    def refusal(self, node, token=None, headers=None, transport="websocket"):
        """The data of the refusal; none if the client is let in."""
        client = socketio.Client(reconnection=False)
        self.addCleanup(client.disconnect)
        refused = []
        client.on("connect_error", refused.append, namespace=NAMESPACE)
        auth = {} if token is None else {"token": token}
        try:
            client.connect(node.url, headers=headers or {}, auth=auth, namespaces=[NAMESPACE], transports=[transport], wait_timeout=PATIENCE)
        except socketio.exceptions.ConnectionError:
            self.assertEqual(refused[0]["message"], "not authorized")
            self.assertEqual(refused[0]["data"]["code"], "E_TOKEN")
            return refused[0]["data"]["reason"]
        client.disconnect()
        return None

    def test_secret_verifies_every_hmac(self):
        node = Node(self, f'secret-file = "{self.file(SECRET)}"')
        for algorithm in ("HS256", "HS384", "HS512"):
            with self.subTest(algorithm):
                self.assertIsNone(self.refusal(node, jwt.encode(claims(), SECRET, algorithm=algorithm)))

    def test_token_comes_by_the_header(self):
        node = Node(self, f'secret-file = "{self.file(SECRET)}"')
        token = jwt.encode(claims(), SECRET, algorithm="HS256")
        for transport in ("polling", "websocket"):
            with self.subTest(transport):
                self.assertIsNone(self.refusal(node, headers={"Authorization": f"Bearer {token}"}, transport=transport))

    def test_refusal_names_its_reason(self):
        node = Node(self, f'secret-file = "{self.file(SECRET)}"')
        for reason, token in (
            ("missing", None),
            ("malformed", "a.b.c"),
            ("expired", jwt.encode(claims(exp=time.time() - 3600), SECRET, algorithm="HS256")),
            ("not_yet_valid", jwt.encode(claims(nbf=time.time() + 3600), SECRET, algorithm="HS256")),
            ("audience", jwt.encode(claims(aud="game"), SECRET, algorithm="HS256")),
            ("signature", jwt.encode(claims(), SECRET.upper(), algorithm="HS256")),
            ("algorithm", jwt.encode(claims(), None, algorithm="none")),
        ):
            with self.subTest(reason):
                self.assertEqual(self.refusal(node, token), reason)

    def test_public_keys_verify_their_own_algorithms(self):
        keys = {
            "rsa": (rsa.generate_private_key(65537, 2048), RSAAlgorithm, ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
            "p256": (ec.generate_private_key(ec.SECP256R1()), ECAlgorithm, ("ES256",)),
            "p384": (ec.generate_private_key(ec.SECP384R1()), ECAlgorithm, ("ES384",)),
            "ed25519": (ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm, ("EdDSA",)),
        }
        keyset = {"keys": [{**json.loads(of.to_jwk(key.public_key())), "kid": kid} for kid, (key, of, _) in keys.items()]}
        by_set = Node(self, f'jwks = "{self.file(json.dumps(keyset))}"')
        form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        pem = "".join(key.public_key().public_bytes(*form).decode() for key, _, _ in keys.values())
        by_pem = Node(self, f'keys = "{self.file(pem)}"')
        for kid, (key, _, algorithms) in keys.items():
            for algorithm in algorithms:
                with self.subTest(algorithm):
                    token = jwt.encode(claims(), key, algorithm=algorithm, headers={"kid": kid})
                    self.assertIsNone(self.refusal(by_set, token))
                    self.assertIsNone(self.refusal(by_pem, token))
