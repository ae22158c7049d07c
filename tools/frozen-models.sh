#!/bin/sh
# Writes the frozen models of tests/formats with the versions that had their forms: tools/frozen-models.sh COMMIT [NAME...]
# builds bench/formats against that commit and writes its models there, each with a table of what that version makes of
# some cells; without names, those below. HEAD writes today's form, and checkpoints. A file that is there is left alone:
# it stands for what users have.
#
# | format | commits |
# |---|---|
# | 1 | 5d1b1e8 the first that can be built, history in the header; 13cb052 with seconds in the history; c3e11e6 the last |
# | 2 | 84d6fc8 the first; a7a0546 the last without latent values of groups, 00d8db8 the first with them; 60e2780 and c857814 settings and offsets that were measured and dropped; 82b4957 the last |
# | 3 | 8957484 the last, with the first checkpoints |
# | 4 | HEAD, with checkpoints of format 2 |
set -eu
cd "$(dirname "$0")/.."
root=$PWD
commit=$1
shift
own=bench/formats
case $commit in
  5d1b1e8) api=$own/api_1.rs; names="none_nb_early one separate_two two" ;;
  13cb052) api=$own/api_1.rs; names="two" ;;
  c3e11e6) api=$own/api_1.rs; names="none_nb_early separate_two two" ;;
  84d6fc8) api="$own/api_2.rs $own/api_2_training_remembers.rs"; names="none_nb_early pooled_separate_two two covariates" ;;
  60e2780) api="$own/api_2.rs $own/api_2_training_remembers.rs"; names="two dispersion_two" ;;
  a7a0546 | 00d8db8) api="$own/api_2.rs $own/api_2_training_remembers.rs"; names="covariates" ;;
  c857814) api="$own/api_2.rs $own/api_2_remembers_later.rs"; names="none two" ;;
  82b4957) api="$own/api_2.rs $own/api_2_remembers_later.rs"; names="none_nb_early_forgets separate_mapped separate_two two covariates" ;;
  8957484) api=$own/api_3.rs; names="none_nb_early_forgets separate_mapped separate_three poisson_two two covariates
    checkpoint_early_covariates checkpoint_nb_early_separate_two" ;;
  HEAD) api=$own/api_3.rs; names="deviance_two covariates checkpoint_deviance_early_separate_two" ;;
  *) echo "No models are frozen of $commit." >&2; exit 1 ;;
esac
case $commit in
  5d1b1e8 | 13cb052 | c3e11e6) format=1 ;;
  8957484) format=3 checkpoint=1 ;;
  HEAD) format=4 checkpoint=2 ;;
  *) format=2 ;;
esac
[ $# -gt 0 ] && names=$*

file_of() {
  case $1 in
    checkpoint_*) echo "tests/formats/checkpoint${checkpoint}_${1#checkpoint_}" ;;
    *) case $commit in
      8957484 | HEAD) echo "tests/formats/format${format}_$1" ;;
      *) echo "tests/formats/format${format}_${commit}_$1" ;;
    esac ;;
  esac
}

lacking=
for name in $names; do
  [ -e "$(file_of "$name").safetensors" ] || lacking="$lacking $name"
done
if [ -z "$lacking" ]; then
  echo "All of these are there."
  exit
fi
work=$(mktemp -d)
trap 'git worktree remove --force "$work/tree" 2>/dev/null || true; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/tree" "$commit"
mkdir -p "$work/tree/examples" "$work/out"
grep -hv '^//!' tests/formats/cells.rs $api $own/common.rs > "$work/tree/examples/frozen.rs"
# Later than the driver: what a model knows of its genes, which the frozen ones do without.
if [ "$commit" = HEAD ]; then
  sed -i 's/^\( *\)history: trained.history,$/&\n\1evidence: None,/' "$work/tree/examples/frozen.rs"
fi
cd "$work/tree"
# The dependencies of today, most of which are compiled already.
cp "$root/Cargo.lock" .
CARGO_TARGET_DIR=${FROZEN_TARGET:-$root/target} cargo run --release --quiet --example frozen -- "$work/out" $lacking
cd "$root"
for name in $lacking; do
  for end in safetensors csv; do
    mv "$work/out/$name.$end" "$(file_of "$name").$end"
  done
done
