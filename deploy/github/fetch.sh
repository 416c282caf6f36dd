#!/usr/bin/env bash
# Fetches a program, and keeps it only if it is what it must be. Usage: fetch.sh URL SHA256 FILE
set -euo pipefail

url=${1:?usage: fetch.sh URL SHA256 FILE}
expected=${2:?the SHA-256 that the program must have}
file=${3:?where to put it}

mkdir -p "$(dirname "$file")"
part=$(mktemp "$file.XXXXXX")
trap 'rm -f "$part"' EXIT
curl --fail --silent --show-error --location --proto '=https,file' --retry 3 --output "$part" "$url"
found=$(sha256sum "$part" | cut -d' ' -f1)
if [[ $found != "$expected" ]]; then
  echo "fetch.sh: $url has the SHA-256 $found, not $expected" >&2
  exit 1
fi
chmod +x "$part"
mv "$part" "$file"
