#!/usr/bin/env bash
# Writes SHA256SUMS over the files of a folder: what provenance is attested for, and what hosts
# check. Usage: checksums.sh FOLDER
set -euo pipefail

folder=${1:?usage: checksums.sh FOLDER}
cd "$folder"
rm -f SHA256SUMS
shopt -s nullglob
files=(*)
((${#files[@]})) || { echo "checksums.sh: nothing was built into $folder" >&2; exit 1; }
for file in "${files[@]}"; do
  [[ -f $file ]] || { echo "checksums.sh: $folder/$file is no file; pack folders first" >&2; exit 1; }
done
sha256sum -- "${files[@]}" >SHA256SUMS
cat SHA256SUMS
