# shellcheck shell=sh
# Sourced where cargo is called: what every build must agree on, or cargo compiles things twice.
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
CARGO_TARGET_DIR=${SCVAE_CARGO_TARGET:-$PWD/target}
# R sets this one for the packages that it installs, and extendr is built anew when it changes.
# shellcheck disable=SC2016  # to be expanded inside R
R_INCLUDE_DIR=$(R CMD sh -c 'printf %s "$R_INCLUDE_DIR"')
export PATH CARGO_TARGET_DIR R_INCLUDE_DIR
