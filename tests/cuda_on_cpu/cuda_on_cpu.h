// Lets g++ compile CUDA C: what nvcc knows by itself, in terms of the fibers of blocks/.
#pragma once
#include "language/keywords.h"
#include "language/vectors.h"
#include "language/threads.h"
#include "language/warps.h"
#include "language/atomics.h"
#include "language/arithmetic.h"
#include "language/entries.h"
