#!/bin/sh
# Creates the secrets of production: passwords for NATS, and a certificate authority with a certificate for
# the NATS servers.
#
#   k8s/secrets.sh FOLDER [NAMESPACE]
#
# Writes files into FOLDER, which must be new, and prints the commands that create the Secrets. Keep FOLDER
# with your secrets, or delete it: the script can create new ones. Needs openssl.
set -eu
umask 077
folder=${1:?a folder for the files, which is made}
namespace=${2:-sociable}
mkdir "$folder"

# A password starts with a letter: NATS reads one with a leading digit as a number.
for user in node balancer backend; do
  printf 'p%s' "$(openssl rand -hex 24)" >"$folder/$user"
done

# Each server is spoken to by its name, short from within the namespace; `localhost` is for `kubectl port-forward`.
names=DNS:localhost,IP:127.0.0.1
for server in nats-0 nats-1 nats-2; do
  names=$names,DNS:$server.nats,DNS:$server.nats.$namespace.svc,DNS:$server.nats.$namespace.svc.cluster.local
done
curve='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
# shellcheck disable=SC2086
{
  openssl req -x509 $curve -days 3650 -subj /CN=sociable-nats-authority -keyout "$folder/ca.key" -out "$folder/ca.crt" \
    -addext keyUsage=critical,keyCertSign,cRLSign
  # Servers are clients of each other too.
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n' "$names" >"$folder/extensions"
  openssl req $curve -subj /CN=nats -keyout "$folder/tls.key" -out "$folder/tls.csr"
  openssl x509 -req -days 825 -in "$folder/tls.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial \
    -extfile "$folder/extensions" -out "$folder/tls.crt"
} 2>"$folder/openssl.log" || { cat "$folder/openssl.log" >&2; exit 1; }
rm "$folder/tls.csr" "$folder/extensions" "$folder/openssl.log"

cat <<END
kubectl -n $namespace create secret generic nats-passwords --from-file=$folder/node --from-file=$folder/balancer --from-file=$folder/backend
kubectl -n $namespace create secret generic nats-tls --from-file=$folder/ca.crt --from-file=$folder/tls.crt --from-file=$folder/tls.key
END
