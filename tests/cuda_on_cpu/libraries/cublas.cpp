// The products of matrices of cuBLAS, in single and double precision.
#include "../driver/api.h"
#include "../driver/memory.h"
#include "../driver/report.h"
#include "gemm.h"
#include <string>

using namespace cuda_on_cpu;

namespace {

struct Handle { Stream *stream; int math_mode, pointer_mode; };

// cublasStatus_t and cudaDataType, as far as they are met here.
enum Status : int { DONE = 0, NO_HANDLE = 1, BAD_VALUE = 7, OUTSIDE_OF_MEMORY = 14, NOT_PLAYED = 15 };
enum { SINGLE = 0, DOUBLE = 1 };

// How `transposed` and the sizes of an operand hang together: what is stored is rows x columns.
template <class T> struct Operand {
    Matrix<T> matrix;
    long long stride;
    int rows, columns;
};

template <class T> Operand<T> operand(int operation, int rows, int columns, T *values, int leading, long long stride) {
    const bool transposed = operation != 0;
    return {{values, leading, transposed}, stride, transposed ? columns : rows, transposed ? rows : columns};
}

// Whether all matrices of the batch lie within one allocation.
template <class T> bool is_in_memory(const Operand<T> &x, int batch, const char *name) {
    if (x.rows == 0 || x.columns == 0 || batch == 0) return true;
    const long long last = x.stride * (batch - 1) + x.matrix.leading * (x.columns - 1) + x.rows;
    return is_inside(x.matrix.values, static_cast<std::size_t>(last) * sizeof(T), name);
}

template <class T> bool is_leading_valid(const Operand<T> &x) {
    return x.matrix.leading >= std::max(1, x.rows) && x.stride >= 0;
}

template <class T>
Status gemm(Handle *handle, int op_a, int op_b, int m, int n, int k, const T *alpha, const T *a, int lda,
            long long stride_a, const T *b, int ldb, long long stride_b, const T *beta, T *c, int ldc,
            long long stride_c, int batch, const char *name) {
    if (!handle) return NO_HANDLE;
    // The factors may also lie on the device, which is not played.
    if (handle->pointer_mode != 0) return NOT_PLAYED;
    if (m < 0 || n < 0 || k < 0 || batch < 0 || !alpha || !beta) return BAD_VALUE;
    const auto of_a = operand(op_a, m, k, a, lda, stride_a), of_b = operand(op_b, k, n, b, ldb, stride_b);
    const auto of_c = operand(0, m, n, c, ldc, stride_c);
    if (!is_leading_valid(of_a) || !is_leading_valid(of_b) || !is_leading_valid(of_c)) return BAD_VALUE;
    const std::string asker = std::string(name) + ", matrix ";
    if (!is_in_memory(of_a, batch, (asker + "A").c_str()) || !is_in_memory(of_b, batch, (asker + "B").c_str()) ||
        !is_in_memory(of_c, batch, (asker + "C").c_str()))
        return OUTSIDE_OF_MEMORY;
    report().called(name);
    for (int i = 0; i < batch; i++) {
        auto one_a = of_a.matrix, one_b = of_b.matrix;
        auto one_c = of_c.matrix;
        one_a.values += i * stride_a;
        one_b.values += i * stride_b;
        one_c.values += i * stride_c;
        multiply(std::size_t(m), std::size_t(n), std::size_t(k), *alpha, one_a, one_b, *beta, one_c);
    }
    return DONE;
}

} // namespace

API Status cublasCreate_v2(Handle **handle) {
    *handle = new Handle{};
    return DONE;
}

API Status cublasDestroy_v2(Handle *handle) {
    delete handle;
    return DONE;
}

API Status cublasSetStream_v2(Handle *handle, Stream *stream) {
    if (!handle) return NO_HANDLE;
    handle->stream = stream;
    return DONE;
}

API Status cublasGetStream_v2(Handle *handle, Stream **stream) {
    if (!handle) return NO_HANDLE;
    *stream = handle->stream;
    return DONE;
}

API Status cublasSetWorkspace_v2(Handle *handle, void *workspace, std::size_t bytes) {
    if (!handle) return NO_HANDLE;
    return is_inside(workspace, bytes, "the workspace of cuBLAS") ? DONE : BAD_VALUE;
}

API Status cublasSetMathMode(Handle *handle, int mode) {
    if (!handle) return NO_HANDLE;
    handle->math_mode = mode;
    return DONE;
}

API Status cublasGetMathMode(Handle *handle, int *mode) {
    if (!handle) return NO_HANDLE;
    *mode = handle->math_mode;
    return DONE;
}

API Status cublasSetPointerMode_v2(Handle *handle, int mode) {
    if (!handle) return NO_HANDLE;
    handle->pointer_mode = mode;
    return DONE;
}

API Status cublasGetPointerMode_v2(Handle *handle, int *mode) {
    if (!handle) return NO_HANDLE;
    *mode = handle->pointer_mode;
    return DONE;
}

API Status cublasSgemmStridedBatched(Handle *handle, int op_a, int op_b, int m, int n, int k, const float *alpha,
                                     const float *a, int lda, long long stride_a, const float *b, int ldb,
                                     long long stride_b, const float *beta, float *c, int ldc, long long stride_c,
                                     int batch) {
    return gemm(handle, op_a, op_b, m, n, k, alpha, a, lda, stride_a, b, ldb, stride_b, beta, c, ldc, stride_c, batch,
                "gemm f32");
}

API Status cublasDgemmStridedBatched(Handle *handle, int op_a, int op_b, int m, int n, int k, const double *alpha,
                                     const double *a, int lda, long long stride_a, const double *b, int ldb,
                                     long long stride_b, const double *beta, double *c, int ldc, long long stride_c,
                                     int batch) {
    return gemm(handle, op_a, op_b, m, n, k, alpha, a, lda, stride_a, b, ldb, stride_b, beta, c, ldc, stride_c, batch,
                "gemm f64");
}

API Status cublasSgemm_v2(Handle *handle, int op_a, int op_b, int m, int n, int k, const float *alpha, const float *a,
                          int lda, const float *b, int ldb, const float *beta, float *c, int ldc) {
    return cublasSgemmStridedBatched(handle, op_a, op_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1);
}

API Status cublasDgemm_v2(Handle *handle, int op_a, int op_b, int m, int n, int k, const double *alpha, const double *a,
                          int lda, const double *b, int ldb, const double *beta, double *c, int ldc) {
    return cublasDgemmStridedBatched(handle, op_a, op_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1);
}

// Whatever precision is asked of the sums, they get double. What a reduced one does to results is not seen here.
API Status cublasGemmStridedBatchedEx(Handle *handle, int op_a, int op_b, int m, int n, int k, const void *alpha,
                                      const void *a, int type_a, int lda, long long stride_a, const void *b, int type_b,
                                      int ldb, long long stride_b, const void *beta, void *c, int type_c, int ldc,
                                      long long stride_c, int batch, int, int) {
    if (type_a != type_b || type_a != type_c) return NOT_PLAYED;
    if (type_a == SINGLE)
        return cublasSgemmStridedBatched(handle, op_a, op_b, m, n, k, static_cast<const float *>(alpha),
                                         static_cast<const float *>(a), lda, stride_a, static_cast<const float *>(b),
                                         ldb, stride_b, static_cast<const float *>(beta), static_cast<float *>(c), ldc,
                                         stride_c, batch);
    if (type_a == DOUBLE)
        return cublasDgemmStridedBatched(handle, op_a, op_b, m, n, k, static_cast<const double *>(alpha),
                                         static_cast<const double *>(a), lda, stride_a, static_cast<const double *>(b),
                                         ldb, stride_b, static_cast<const double *>(beta), static_cast<double *>(c),
                                         ldc, stride_c, batch);
    return NOT_PLAYED;
}

API Status cublasGemmEx(Handle *handle, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a,
                        int type_a, int lda, const void *b, int type_b, int ldb, const void *beta, void *c, int type_c,
                        int ldc, int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0, beta, c,
                                      type_c, ldc, 0, 1, compute, algorithm);
}
