"""The CUDA sources of the kernels, compiled by CuPy when first used; `real` is float or double.

Text and nothing else: this file knows no CuPy, and the tests compile it without any GPU. Each
kernel names its twin in `reference`, which says in NumPy what it computes.
"""

WALK = 4  # rows that a thread of im2col takes: to find its place costs three divisions

IMAGES = (
    f"#define WALK {WALK}"
    + r"""
// Images are (n, h, w, c), and rows of the result are (n, oh, ow) or (n, h, w). A thread takes one
// row, or WALK of them, and there the columns q = threadIdx.x, threadIdx.x + blockDim.x, ...
__device__ int row() { return blockIdx.x * blockDim.y + threadIdx.y; }
// size, kernel, stride, padding and dilation, downwards and across
#define GEOMETRY int rows, int h, int w, int c, int oh, int ow, \
                 int kh, int kw, int sh, int sw, int ph, int pw, int dh, int dw

// reference.im2col: the patch under output position (b, i, j) becomes a row,
// cols[b, i, j, u, v, channel] = x[b, i*sh + u*dh - ph, j*sw + v*dw - pw, channel], 0 outside x.
extern "C" __global__ void im2col(const real* x, real* cols, GEOMETRY) {
    int first = row() * WALK, k = kh * kw * c;
    if ((unsigned)first >= rows) return;
    for (int q = threadIdx.x; q < k; q += blockDim.x) {
        int tap = q / c, u = tap / kw, v = tap - u * kw;  // q - tap * c is the channel
        int top = u * dh - ph, left = v * dw - pw;
        int j = first % ow, i = first / ow % oh, b = first / ow / oh;
        const real* image = x + (long long)b * h * w * c + q - tap * c;
        real value[WALK];  // read first and written then: the reads need not wait for one another
        #pragma unroll
        for (int s = 0; s < WALK; s++) {
            int y = i * sh + top, z = j * sw + left;
            bool inside = first + s < rows && y >= 0 && y < h && z >= 0 && z < w;
            value[s] = inside ? image[(y * w + z) * c] : 0;
            if (++j == ow && (j = 0, ++i == oh)) i = 0, image += h * w * c;
        }
        #pragma unroll
        for (int s = 0; s < WALK; s++)
            if (first + s < rows) cols[((long long)first + s) * k + q] = value[s];
    }
}

// How far apart the taps are that can have read one pixel, and the first of them, or `taps`.
__device__ int between(int stride, int dilation) {
    int a = stride, b = dilation;
    for (int rest; b; a = b, b = rest) rest = a % b;  // a becomes their greatest common divisor
    return stride / a;
}
__device__ int first_tap(int at, int stride, int dilation, int step, int taps) {
    for (int tap = 0; tap < step; tap++) if ((at - tap * dilation) % stride == 0) return tap;
    return taps;
}
// reference.col2im: pixel (b, y, z) of x sums what im2col read from it. It gathers from every patch
// that holds it, tap by tap, so that no two threads write to one place.
extern "C" __global__ void col2im(const real* cols, real* x, GEOMETRY) {
    int r = row(), z = r % w, y = r / w % h, b = r / w / h;
    if ((unsigned)r >= rows) return;
    int down = between(sh, dh), across = between(sw, dw);
    int u0 = first_tap(y + ph, sh, dh, down, kh), v0 = first_tap(z + pw, sw, dw, across, kw);
    int up = down * dh / sh, back = across * dw / sw;  // the next tap's position
    for (int q = threadIdx.x; q < c; q += blockDim.x) {
        real sum = 0;
        for (int u = u0, i = (y + ph - u * dh) / sh; u < kh && i >= 0; u += down, i -= up) {
            if (i >= oh) continue;
            const real* line = cols + (((long long)b * oh + i) * ow * kh + u) * kw * c + q;
            for (int v = v0, j = (z + pw - v * dw) / sw; v < kw && j >= 0; v += across, j -= back)
                if (j < ow) sum += line[(j * kh * kw + v) * c];
        }
        x[(long long)r * c + q] = sum;
    }
}
"""
)

COLUMN_SUMS = r"""
// N sums for each column of (rows, c), written as (parts, N, c): `add` adds element e, of column q,
// to s[0], s[1], ... A block takes blockDim.x columns and some rows: a thread those from `first` to
// `end` in steps. It shares its sums with the last row of threads, which adds them in one order.
#define SUMS(name, N, first, end, step, add, ...) \
extern "C" __global__ void __launch_bounds__(1024) name( \
        __VA_ARGS__, real* sums, int rows, int c, int parts) { \
    __shared__ real seen[N][1024]; \
    int part = blockIdx.x % parts, q = blockIdx.x / parts * blockDim.x + threadIdx.x; \
    real s[N] = {0}; \
    for (long long i = first; i < end && q < c; i += step) { \
        long long e = i * c + q; \
        add; \
    } \
    for (int n = 0; n < N; n++) seen[n][threadIdx.y * blockDim.x + threadIdx.x] = s[n]; \
    __syncthreads(); \
    if (threadIdx.y + 1 < blockDim.y || q >= c) return; \
    for (int n = 0; n < N; n++) { \
        for (int y = blockDim.y - 2; y >= 0; y--) s[n] += seen[n][y * blockDim.x + threadIdx.x]; \
        sums[((long long)part * N + n) * c + q] = s[n]; \
    } \
}
// every parts-th run of blockDim.y rows
#define COLUMN_SUMS(name, N, add, ...) \
    SUMS(name, N, part * blockDim.y + threadIdx.y, rows, parts * blockDim.y, add, __VA_ARGS__)
// the rows of one sample, of which there are `parts`: there `own` is its number in (parts, c)
#define SAMPLE_SUMS(name, N, add, ...) \
    SUMS(name, N, (long long)part * rows + threadIdx.y, (part + 1ll) * rows, blockDim.y, \
         int own = part * c + q; add, __VA_ARGS__)
// reference.column_sums: the sum of x
COLUMN_SUMS(column_sums, 1, s[0] += x[e], const real* x)
// For reference.moments: the sums of d and of d*d, where d = x - x[0]; unshifted, the squares of
// numbers far from 0 would cancel.
COLUMN_SUMS(moments, 2, real d = x[e] - x[q]; s[0] += d; s[1] += d * d, const real* x)
// reference.norm_sums: the sums of g and of g times the normalised x
COLUMN_SUMS(norm_sums, 2, s[0] += g[e]; s[1] += g[e] * ((x[e] - mean[q]) * inv[q]),
            const real* g, const real* x, const real* mean, const real* inv)
// For reference.layer_norm_grad: the sums of g times x as its rows normalise it, and of g
COLUMN_SUMS(layer_norm_sums, 2, s[0] += g[e] * ((x[e] - mean[i]) * inv[i]); s[1] += g[e],
            const real* g, const real* x, const real* mean, const real* inv)
// For reference.sample_moments: the sum of x, and then that of the squares about the mean.
SAMPLE_SUMS(sample_sum, 1, (void)own; s[0] += x[e], const real* x)
SAMPLE_SUMS(sample_squares, 1, real d = x[e] - mean[own]; s[0] += d * d,
            const real* x, const real* mean)
// reference.sample_sums: the sums of g, and of g times the distance of x from a center
SAMPLE_SUMS(sample_sums, 2, s[0] += g[e]; s[1] += g[e] * (x[e] - center[own]),
            const real* g, const real* x, const real* center)
"""

MOST, ARRAYS, CHUNK = 64, 6, 2048  # tensors in a launch, arrays of each, elements in a block

MULTI_TENSOR = (
    f"#define MOST {MOST}\n#define ARRAYS {ARRAYS}\n#define CHUNK {CHUNK}ll"
    + r"""
// Up to MOST tensors. Of tensor t: the addresses of its arrays, or numbers; how many elements each
// has; and which block is its first.
struct Tensors {
    unsigned long long at[ARRAYS][MOST];
    long long size[MOST];
    unsigned first[MOST];
};
#define ARRAY(k) ((real*)tensors.at[k][t])
// A block has CHUNK elements of one tensor t: of the last whose first block is not after it, which
// is found by bisection; beyond the last tensor `first` is larger than any block.
#define TENSOR \
    unsigned t = 0; \
    for (unsigned half = MOST / 2; half; half /= 2) \
        t += blockIdx.x < tensors.first[t + half] ? 0 : half; \
    long long begin = CHUNK * (blockIdx.x - tensors.first[t]), rest = tensors.size[t] - begin, \
              end = begin + (rest < CHUNK ? rest : CHUNK);
#define EACH for (long long i = begin + threadIdx.x; i < end; i += blockDim.x)

// reference.lerp: p += w (q - p)
extern "C" __global__ void lerp(Tensors tensors, const double* weight) {
    TENSOR
    real *p = ARRAY(0), *q = ARRAY(1);
    real w = (real)*weight;
    EACH p[i] += w * (q[i] - p[i]);
}

// reference.adam, where log1 and log2 are log(beta1) and log(beta2): expm1(t * log(beta)) is
// beta^t - 1, to float32's last digit in float32. at[4] is a number: the tensor's place in `steps`.
extern "C" __global__ void adam(Tensors tensors, const double* lr, const long long* steps,
                                real beta1, real beta2, real log1, real log2, real eps) {
    TENSOR
    real *p = ARRAY(0), *m = ARRAY(1), *v = ARRAY(2), *peak = ARRAY(3), *g = ARRAY(5);
    real count = (real)steps[tensors.at[4][t]];
    real rate = (real)*lr / -expm1(count * log1), left = -expm1(count * log2);
    EACH {
        real mean = m[i] + (1 - beta1) * (g[i] - m[i]);
        real square = v[i] + (1 - beta2) * (g[i] * g[i] - v[i]);
        m[i] = mean, v[i] = square;
        // a NaN in either stays
        if (peak && !(peak[i] >= square) && peak[i] == peak[i]) peak[i] = square;
        if (peak) square = peak[i];
        p[i] -= rate * mean / (sqrt(square / left) + eps);
    }
}
"""
)

RANDOM = r"""
// reference.philox: ten rounds on the counter c (four words), in place, under the key (k0, k1)
__device__ void philox(unsigned* c, unsigned k0, unsigned k1) {
    for (int round = 0; round < 10; round++) {
        unsigned long long p = 0xD2511F53ull * c[0], q = 0xCD9E8D57ull * c[2];
        c[0] = (unsigned)(q >> 32) ^ c[1] ^ k0, c[1] = (unsigned)q;
        c[2] = (unsigned)(p >> 32) ^ c[3] ^ k1, c[3] = (unsigned)p;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
}
#define KEY long long n, unsigned k0, unsigned k1, unsigned draw, unsigned first, \
    const long long* step
// A thread has four words w, for the elements from `at` on; EACH walks them, or every second one.
#define EACH(by) \
    unsigned b = blockIdx.x * blockDim.y + threadIdx.y; \
    unsigned w[4] = {first + b, draw, (unsigned)*step, (unsigned)(*step >> 32)}; \
    philox(w, k0, k1); \
    long long at = 4ll * b; \
    for (int i = 0; i < 4 && at + i < n; i += by)
// a word as a multiple of 2^-24 in [0, 1)
__device__ float unit(unsigned word) { return (word >> 8) * (1.0f / (1 << 24)); }

// reference.bits: the words themselves
extern "C" __global__ void bits(unsigned* out, KEY) { EACH(1) out[at + i] = w[i]; }

// reference.uniform: a number from [0, 1) of each word
extern "C" __global__ void uniform(real* out, KEY) { EACH(1) out[at + i] = unit(w[i]); }

// reference.bernoulli: y with probability p, else 0
extern "C" __global__ void bernoulli(real* out, KEY, float p, real y) {
    EACH(1) out[at + i] = unit(w[i]) < p ? y : 0;
}

// reference.normal: two standard normals of each two words (Box & Muller 1958)
extern "C" __global__ void normal(real* out, KEY) {
    EACH(2) {
        real radius = sqrt((real)-2 * log((real)1 - unit(w[i])));
        real angle = (real)6.283185307179586 * unit(w[i + 1]);
        out[at + i] = radius * cos(angle);
        if (at + i + 1 < n) out[at + i + 1] = radius * sin(angle);
    }
}
"""
