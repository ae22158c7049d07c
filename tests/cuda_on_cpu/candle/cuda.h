// In place of CUDA's header, of which candle's sources ask the version only. None: so they leave out the casts to and
// from bfloat16.
#pragma once
