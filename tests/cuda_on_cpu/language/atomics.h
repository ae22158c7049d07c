// Threads change places at barriers alone, so that a plain read and write is atomic.
#pragma once

namespace cuda_on_cpu {

// Keeps the second argument from being deduced: CUDA converts it to the type of the first.
template <class T> struct Same { using Type = T; };

template <class T> T exchange(T *at, T value) {
    const T before = *at;
    *at = value;
    return before;
}

} // namespace cuda_on_cpu

template <class T> T atomicAdd(T *at, typename cuda_on_cpu::Same<T>::Type value) {
    return cuda_on_cpu::exchange(at, static_cast<T>(*at + value));
}

template <class T> T atomicMax(T *at, typename cuda_on_cpu::Same<T>::Type value) {
    return cuda_on_cpu::exchange(at, value > *at ? value : *at);
}

template <class T> T atomicMin(T *at, typename cuda_on_cpu::Same<T>::Type value) {
    return cuda_on_cpu::exchange(at, value < *at ? value : *at);
}

template <class T> T atomicExch(T *at, typename cuda_on_cpu::Same<T>::Type value) {
    return cuda_on_cpu::exchange(at, value);
}

template <class T>
T atomicCAS(T *at, typename cuda_on_cpu::Same<T>::Type expected, typename cuda_on_cpu::Same<T>::Type value) {
    return cuda_on_cpu::exchange(at, *at == expected ? value : *at);
}
