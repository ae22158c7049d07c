# shellcheck shell=sh
# Sourced by the scripts here: what every build must agree on, or cargo compiles things twice.
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
# R sets this one for the packages that it installs, and extendr is built anew when it changes.
R_INCLUDE_DIR=$(R CMD sh -c 'printf %s "$R_INCLUDE_DIR"')
export PATH R_INCLUDE_DIR
