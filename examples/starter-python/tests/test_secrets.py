import base64
import hashlib
import shutil
import subprocess
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent


def secrets_of(project: Path) -> dict[str, str]:
    files = ["api_key", "session_secret", "webhook_secret"]
    return {name: (project / "secrets" / name).read_text() for name in files}


def hash_of_key(project: Path) -> str:
    keys = tomllib.loads((project / "cluster" / "keys.toml").read_text())
    return str(keys["keys"]["backend"]["sha256"])


def test_nodes_know_the_key_of_the_backend() -> None:
    assert hash_of_key(PROJECT) == hashlib.sha256(secrets_of(PROJECT)["api_key"].encode()).hexdigest()


def test_new_secrets_replace_those_of_the_trial(tmp_path: Path) -> None:
    for folder in ["cluster", "secrets"]:
        shutil.copytree(PROJECT / folder, tmp_path / folder)
    shutil.copy(PROJECT / "new-secrets.sh", tmp_path)
    subprocess.run([tmp_path / "new-secrets.sh"], check=True)

    old, new = secrets_of(PROJECT), secrets_of(tmp_path)
    assert all(old[name] != new[name] and len(new[name]) >= 32 for name in old)
    assert len(base64.b64decode(new["webhook_secret"].removeprefix("whsec_"))) == 32
    assert hash_of_key(tmp_path) == hashlib.sha256(new["api_key"].encode()).hexdigest()
