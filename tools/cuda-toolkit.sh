#!/bin/sh
# Puts what of NVIDIA's CUDA toolkit is needed to build scVAE into DIR (105 MB to download, 270 MB
# on disk), unless it is there, and prints the folder to name in CUDA_HOME. For tests: the libraries
# that training on a GPU needs are not in it. Usage: tools/cuda-toolkit.sh DIR
set -eu

[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
home=$folder/nvidia/cu13

if [ ! -e "$home/complete" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  python=python3
  if ! python3 -m pip --version >/dev/null 2>&1; then
    python3 -m venv "$work/venv" >&2 || {
      echo "cuda-toolkit: neither pip nor venv; Debian: apt-get install python3-pip" >&2
      exit 1
    }
    python=$work/venv/bin/python
  fi
  PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --disable-pip-version-check \
    --no-deps --only-binary :all: --upgrade --target "$folder" \
    nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 \
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 >&2
  "$home/bin/nvcc" --version >&2
  touch "$home/complete"
fi
echo "$home"
