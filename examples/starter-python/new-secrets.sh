#!/bin/sh
# Replaces the secrets of the trial: the files in `secrets`, and the hash of the API key in `cluster/keys.toml`.
set -eu
cd "$(dirname "$0")"
openssl rand -hex 32 | tr -d '\n' > secrets/api_key
openssl rand -hex 32 | tr -d '\n' > secrets/session_secret
printf 'whsec_%s' "$(openssl rand -base64 32)" > secrets/webhook_secret
hash=$(openssl dgst -sha256 -r secrets/api_key | cut -d ' ' -f 1)
sed "s/^sha256 = .*/sha256 = \"$hash\"/" cluster/keys.toml > cluster/keys.toml.new
mv cluster/keys.toml.new cluster/keys.toml
