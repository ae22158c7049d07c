// C = alpha op(A) op(B) + beta C for column-major matrices, summed in double precision and rounded once.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

namespace cuda_on_cpu {

template <class T> struct Matrix {
    T *values;
    long long leading; // from one column to the next
    bool transposed = false;

    T &at(std::size_t row, std::size_t column) const {
        if (transposed) std::swap(row, column);
        return values[row + column * static_cast<std::size_t>(leading)];
    }
};

// `rows` by `columns`, with a row's values side by side.
template <class T>
std::vector<double> packed(const Matrix<const T> &from, std::size_t rows, std::size_t first_column,
                           std::size_t columns) {
    std::vector<double> to(rows * columns);
    // In the order of the source, of which columns are side by side unless it is transposed.
    if (from.transposed)
        for (std::size_t i = 0; i < rows; i++)
            for (std::size_t j = 0; j < columns; j++) to[i * columns + j] = from.at(i, first_column + j);
    else
        for (std::size_t j = 0; j < columns; j++)
            for (std::size_t i = 0; i < rows; i++) to[i * columns + j] = from.at(i, first_column + j);
    return to;
}

template <class T>
void multiply(std::size_t m, std::size_t n, std::size_t k, T alpha, const Matrix<const T> &a, const Matrix<const T> &b,
              T beta, const Matrix<T> &c) {
    // A strip of B stays in the cache while all rows of A pass by it; a strip's sums are added to side by side.
    const std::size_t STRIP = 64;
    const std::vector<double> rows_of_a = packed(a, m, 0, k);
    for (std::size_t from = 0; from < n; from += STRIP) {
        const std::size_t width = std::min(STRIP, n - from);
        const std::vector<double> strip = packed(b, k, from, width);
        for (std::size_t i = 0; i < m; i++) {
            double sums[STRIP] = {};
            for (std::size_t l = 0; l < k; l++) {
                const double factor = rows_of_a[i * k + l];
                for (std::size_t j = 0; j < width; j++) sums[j] += factor * strip[l * width + j];
            }
            for (std::size_t j = 0; j < width; j++) {
                T &out = c.at(i, from + j);
                // What is there must not be read where beta is zero: it may be not-a-number.
                out = static_cast<T>(alpha * sums[j] + (beta == T(0) ? 0.0 : static_cast<double>(beta) * out));
            }
        }
    }
}

} // namespace cuda_on_cpu
