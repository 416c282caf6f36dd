#!/usr/bin/env bash
# Shows that the tests of the lane protocol bite: breaks one of its rules at a time, as the patches in
# tests/mutants do, in a copy of the tree, and runs the test that each patch names. That test must fail.
#
#   scripts/mutants.sh              # all of them
#   scripts/mutants.sh NAME...      # these
#   scripts/mutants.sh --none       # the copy as it is: everything passes
#
# Nothing outside target/ is changed. BACKSTOP_MODEL_SCHEDULES says how many seeds a mutant may survive.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
tree=$root/target/mutants/tree
logs=$root/target/mutants/logs
# Dependencies that are built serve here too.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
export BACKSTOP_MODEL_SCHEDULES=${BACKSTOP_MODEL_SCHEDULES:-500}
longest=${MUTANTS_TIMEOUT:-600}

die() { echo "mutants: $*" >&2; exit 2; }

# Only the rooms that the lane protocol is made of, and only the model of the integration tests: it
# builds in a fraction of the time.
copy_tree() {
  rm -rf "$tree"
  mkdir -p "$tree" "$logs"
  git ls-files -z --cached --others --exclude-standard -- src rules tests/fixtures tests/mutants tests/it/lane_model.rs tests/it/lane_model Cargo.lock |
    while IFS= read -r -d '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done |
    xargs -0 cp --parents -t "$tree"
  awk '/^\[/ {skip = /^\[\[(bin|example|bench)\]\]$/} !skip' Cargo.toml > "$tree/Cargo.toml"
  { echo '//! The rooms of the lane protocol.'; printf 'pub mod %s;\n' act config domain http spinnaker store; } > "$tree/src/lib.rs"
  { echo '//! The model alone.'; echo 'mod lane_model;'; } > "$tree/tests/it/main.rs"
  # Its contract with Gate's stand-in concerns no rule of the lane.
  sed -i '/^mod gate;$/d' "$tree/tests/it/lane_model.rs"
}

# The tests a patch names, as `cargo test` takes them: `--lib FILTER` or `--test it FILTER`.
killers() { sed -n 's/^Killed-by: //p' "$tree/tests/mutants/$1.patch"; }

in_tree() { (cd "$tree" && timeout "$longest" cargo test --locked --quiet "$@"); }

# Prints what kills the mutant; fails where nothing does.
try() {
  local name=$1 log=$logs/$1.log target status=0
  : > "$log"
  while read -r -a target; do
    in_tree "${target[@]}" --no-run >> "$log" 2>&1 || { echo 'DOES NOT BUILD'; return 1; }
    in_tree "${target[@]}" >> "$log" 2>&1 || status=$?
    if [[ $status == 101 ]]; then
      grep -m1 -oE 'BACKSTOP_MODEL_SEED=[0-9]+' "$log" |
        sed 's/^/lane_model, /' || sed -n 's/^    \([a-z_:]*::[a-z_:]*\)$/\1/p' "$log" | sort -u | head -1
      return 0
    fi
    [[ $status == 0 ]] || { echo "NO END WITHIN ${longest}s"; return 1; }
  done < <(killers "$name")
  echo 'SURVIVES'
  return 1
}

main() {
  copy_tree
  if [[ ${1:-} == --none ]]; then
    in_tree --test it lane_model::
    in_tree --lib
    return
  fi
  local names=("$@") failed=0 name
  if ((${#names[@]} == 0)); then
    for name in tests/mutants/*.patch; do names+=("$(basename "$name" .patch)"); done
  fi
  for name in "${names[@]}"; do
    local patch=$tree/tests/mutants/$name.patch said
    [[ -n $(killers "$name") ]] || die "\`$patch\` names no test that kills it"
    patch -d "$tree" -p1 --quiet --no-backup-if-mismatch < "$patch" ||
      die "\`$patch\` does not apply any more: bring it up to date"
    said=$(try "$name") || failed=1
    printf '%-28s %s\n' "$name" "$said"
    patch -d "$tree" -p1 --quiet -R --no-backup-if-mismatch < "$patch" || die "\`$patch\` can't be taken back"
  done
  return "$failed"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; fi
