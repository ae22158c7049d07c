// The device that is played: as large as one of compute capability 8.0, in what a program can trip over.
#pragma once

namespace cuda_on_cpu {

const unsigned MAX_THREADS = 1024;
const unsigned MAX_BLOCK[3] = {1024, 1024, 64};
const unsigned MAX_GRID[3] = {2147483647, 65535, 65535};
const unsigned MAX_SHARED = 48 << 10;
// Where a program has asked for it, kernel by kernel.
const unsigned MAX_SHARED_ASKED_FOR = 163 << 10;

} // namespace cuda_on_cpu
