#!/bin/sh
# Puts the official client into page/, from its npm package.
set -eu
cd "$(dirname "$0")/page"
archive=$(npm pack --silent socket.io-client@4.8.4)
tar -xzOf "$archive" package/dist/socket.io.min.js > socket.io.min.js
rm "$archive"
