#!/usr/bin/env bash
# Publishes what a tag was built into and deploys it. Usage: publish.sh FOLDER
#
# FOLDER holds SHA256SUMS and one artifact, and may hold `settings.*`, the release's own
# configuration. From the environment: SERVICE, ARTIFACTS, GITHUB_REF_NAME (the tag), GITHUB_SHA;
# DEPLOY_PIPELINE, BACKSTOP (the program) and BACKSTOP_CONFIG_FILE may be left out.
#
# Run again it changes nothing. Other content under the same tag, or the tag at another commit, is
# refused (5) before anything is uploaded or started.
set -euo pipefail

folder=${1:?usage: publish.sh FOLDER}
: "${SERVICE:?}" "${ARTIFACTS:?}" "${GITHUB_REF_NAME:?}" "${GITHUB_SHA:?}"

fail() {
  echo "publish.sh: $1" >&2
  exit "${2:-1}"
}

# A tag that was moved since this run began is somebody else's release.
at=$(git rev-parse --verify --quiet "refs/tags/$GITHUB_REF_NAME^{commit}") ||
  fail "there is no tag $GITHUB_REF_NAME in this checkout"
[[ $at == "$GITHUB_SHA" ]] || fail "tag $GITHUB_REF_NAME is at $at, and this run is for $GITHUB_SHA" 5

# What was built is what was attested.
(cd "$folder" && sha256sum --check --strict --quiet SHA256SUMS) || fail "$folder is not what SHA256SUMS says"

artifact='' settings=''
for file in "$folder"/*; do
  case ${file##*/} in
    SHA256SUMS) ;;
    settings.*) settings=$file ;;
    *)
      [[ -z $artifact ]] || fail "there are two artifacts in $folder; pack them into one"
      artifact=$file
      ;;
  esac
done
[[ -n $artifact ]] || fail "there is no artifact in $folder"

arguments=(
  release publish "$SERVICE" --tag "$GITHUB_REF_NAME" --commit "$GITHUB_SHA"
  --artifact "$artifact" --upload "$ARTIFACTS"
  --by "${GITHUB_ACTOR:-github-actions}" --output json
)
[[ -z $settings ]] || arguments+=(--settings-file "$settings")
[[ -z ${DEPLOY_PIPELINE:-} ]] || arguments+=(--deploy "$DEPLOY_PIPELINE")
"${BACKSTOP:-backstop}" "${arguments[@]}"
