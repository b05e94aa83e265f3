"""More CUDA sources, of the same kind as those in `cuda`: what is done row by row, and what adds
rows to others.
"""

ROWS = r"""
// A warp takes row r, of k numbers: a lane of it those at j = lane, lane + 32, ...
#define ROW_OF \
    long long r = (long long)blockIdx.x * blockDim.y + threadIdx.y, first = r * k; \
    if (r >= rows) return;
#define EACH(n) for (int j = threadIdx.x; j < n; j += 32)
// Every lane's number, put together in one order: all lanes get the result.
#define TOGETHER(name, a_and_b) \
__device__ real name(real a) { \
    for (int far = 16; far; far /= 2) { \
        real b = __shfl_xor_sync(0xffffffffu, a, far); \
        a = a_and_b; \
    } \
    return a; \
}
#define NOTHING log((real)0)  // minus infinity, which NVRTC has no name for
#define LARGER(a, b) (a >= b || a != a ? a : b)  // a NaN is larger than all
TOGETHER(row_sum, a + b)
TOGETHER(row_max, LARGER(a, b))

// reference.softmax_rows: of row i of so many queries the first i + 1 count, if it is causal
extern "C" __global__ void softmax_rows(long long rows, int k, const real* x, int queries,
                                        int causal, real scale, real* out) {
    ROW_OF
    int i = r % queries, seen = causal && i < k ? i + 1 : k;
    real top = NOTHING, sum = 0;
    EACH(seen) { real v = x[first + j] * scale; top = LARGER(top, v); }
    top = row_max(top);
    real from = top == NOTHING ? 0 : top;  // a row of nothing becomes zeros
    EACH(seen) { out[first + j] = exp(x[first + j] * scale - from); sum += out[first + j]; }
    sum = row_sum(sum);
    real whole = top == NOTHING ? 1 : sum;
    EACH(k) out[first + j] = j < seen ? out[first + j] / whole : 0;
}

// reference.softmax_rows_grad: scale * p * (g - sum of g * p)
extern "C" __global__ void softmax_rows_grad(long long rows, int k, const real* g, const real* p,
                                             real scale, real* out) {
    ROW_OF
    real sum = 0;
    EACH(k) sum += g[first + j] * p[first + j];
    sum = row_sum(sum);
    EACH(k) out[first + j] = scale * p[first + j] * (g[first + j] - sum);
}

// reference.log_softmax_at
extern "C" __global__ void log_softmax_at(long long rows, int k, const real* x,
                                          const long long* index, real* out) {
    ROW_OF
    real top = NOTHING, sum = 0;
    EACH(k) top = LARGER(top, x[first + j]);
    top = row_max(top);
    EACH(k) sum += exp(x[first + j] - top);
    sum = row_sum(sum);
    long long at = index[r] < 0 ? index[r] + k : index[r];
    if (threadIdx.x == 0) out[r] = x[first + at] - top - log(sum);
}

#define MOMENTS \
    real mean = 0, inv = 0; \
    EACH(k) mean += x[first + j]; \
    mean = row_sum(mean) / k; \
    EACH(k) inv += (x[first + j] - mean) * (x[first + j] - mean); \
    inv = 1 / sqrt(row_sum(inv) / k + eps);
#define NORMAL ((x[first + j] - mean) * inv)

// reference.layer_norm
extern "C" __global__ void layer_norm(long long rows, int k, const real* x, const real* weight,
                                      const real* bias, real eps, real* out) {
    ROW_OF
    MOMENTS
    EACH(k) out[first + j] = weight[j] * NORMAL + bias[j];
}

// For reference.layer_norm_grad: the gradient to x; and the moments, for those to the others.
extern "C" __global__ void layer_norm_grad(long long rows, int k, const real* g, const real* x,
                                           const real* weight, real eps,
                                           real* to_x, real* means, real* invs) {
    ROW_OF
    MOMENTS
    real through = 0, along = 0;
    EACH(k) {
        through += g[first + j] * weight[j];
        along += g[first + j] * weight[j] * NORMAL;
    }
    through = row_sum(through) / k, along = row_sum(along) / k;
    EACH(k) to_x[first + j] = inv * (g[first + j] * weight[j] - through - NORMAL * along);
    if (threadIdx.x == 0) means[r] = mean, invs[r] = inv;
}
"""

INDEX_ADD = r"""
// reference.index_add: x[index[i]] += g[i], rows of so many columns. A block has blockDim.x columns
// and a number i; if its index stands first there, it adds for all that are equal to it. A thread
// takes every blockDim.y-th; the last row of threads adds what they have found, in one order.
extern "C" __global__ void __launch_bounds__(1024) index_add(
        real* x, const long long* index, const long long* first, const real* g,
        int n, int columns) {
    __shared__ real seen[1024];
    int i = blockIdx.x % n, q = blockIdx.x / n * blockDim.x + threadIdx.x;
    if (!first[i]) return;
    real sum = 0;
    #pragma unroll 8
    for (int j = i + threadIdx.y; j < n && q < columns; j += blockDim.y)
        if (index[j] == index[i]) sum += g[(long long)j * columns + q];
    seen[threadIdx.y * blockDim.x + threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y + 1 < blockDim.y || q >= columns) return;
    for (int y = blockDim.y - 2; y >= 0; y--) sum += seen[y * blockDim.x + threadIdx.x];
    x[index[i] * columns + q] += sum;
}
"""
