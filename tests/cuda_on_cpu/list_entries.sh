#!/bin/sh
# list_entries.sh FILE COMPILER...: writes the C++ source of a unit: the file, and a line for each of its kernels. What
# they are called is asked of the preprocessor, since many names are put together by macros.
set -eu
file=$1
shift
entries=$("$@" -DCUDA_ON_CPU_LIST_ENTRIES -x c++ -E -P "$file" | tr '\n' ' ' |
    grep -o 'cuda_on_cpu_entry  *void  *[A-Za-z_0-9]*' | sed 's/.* //')
echo "#include \"cuda_on_cpu.h\""
echo "#include \"$file\""
for entry in $entries; do echo "CUDA_ON_CPU_ENTRY($entry)"; done
