"""The CUDA sources behind `gpu`, compiled by CuPy when first used; `real` is float or double.

Text and nothing else: this file knows no CuPy, and the tests compile it without any GPU.
"""

IMAGES = r"""
// A thread takes the columns q = threadIdx.x, threadIdx.x + blockDim.x, ... of one row. Images are (n, h, w, c).
__device__ int row() { return blockIdx.x * blockDim.y + threadIdx.y; }
#define GEOMETRY int rows, int h, int w, int c, int oh, int ow, \
                 int kh, int kw, int sh, int sw, int ph, int pw, int dh, int dw

extern "C" __global__ void im2col(const real* x, real* cols, GEOMETRY) {
    int r = row(), j = r % ow, i = r / ow % oh, b = r / ow / oh, k = kh * kw * c;
    if ((unsigned)r >= rows) return;
    const real* image = x + (long long)b * h * w * c;
    real* to = cols + (long long)r * k;
    for (int q = threadIdx.x; q < k; q += blockDim.x) {
        int tap = q / c, y = i * sh - ph + tap / kw * dh, z = j * sw - pw + tap % kw * dw;
        to[q] = y >= 0 && y < h && z >= 0 && z < w ? image[((long long)y * w + z) * c + q % c] : 0;
    }
}
// Row r is one pixel, which gathers from every patch that holds it: no two threads write to one place.
extern "C" __global__ void col2im(const real* cols, real* x, GEOMETRY) {
    int r = row(), z = r % w, y = r / w % h, b = r / w / h;
    if ((unsigned)r >= rows) return;
    for (int q = threadIdx.x; q < c; q += blockDim.x) {
        real sum = 0;
        for (int u = 0; u < kh; u++) {
            int top = y + ph - u * dh, i = top / sh;
            if (top < 0 || top % sh || i >= oh) continue;
            for (int v = 0; v < kw; v++) {
                int left = z + pw - v * dw, j = left / sw;
                if (left < 0 || left % sw || j >= ow) continue;
                sum += cols[(((((long long)b * oh + i) * ow + j) * kh + u) * kw + v) * c + q];
            }
        }
        x[(long long)r * c + q] = sum;
    }
}

// Column sums of a and b over the rows r, r + parts, r + 2*parts, ... of (rows, c); sums is (2, parts, c).
#define COLUMN_SUMS(name, a, b, ...) \
extern "C" __global__ void name(__VA_ARGS__, real* sums, int rows, int c, int parts) { \
    for (int q = threadIdx.x, r = row(); r < parts && q < c; q += blockDim.x) { \
        real sum_a = 0, sum_b = 0; \
        for (long long i = r; i < rows; i += parts) { long long e = i * c + q; sum_a += a; sum_b += b; } \
        sums[(long long)r * c + q] = sum_a; \
        sums[((long long)parts + r) * c + q] = sum_b; \
    } \
}
// shifted by the first row, so that the squares do not cancel
COLUMN_SUMS(moments, x[e] - x[q], (x[e] - x[q]) * (x[e] - x[q]), const real* x)
COLUMN_SUMS(norm_sums, g[e], g[e] * ((x[e] - mean[q]) * inv[q]),
            const real* g, const real* x, const real* mean, const real* inv)
"""

MANY = r"""
// Up to 64 tensors at a time. Of each, t: the addresses of its arrays, or numbers; how many elements they have; and which
// block is its first.
struct Tensors { unsigned long long at[6][64]; long long size[64]; unsigned first[64]; };
#define ARRAY(k) ((real*)tensors.at[k][t])
// A block has 2048 elements of one tensor: of the last whose first block is not after it.
#define TENSOR \
    unsigned t = 0; \
    for (unsigned half = 32; half; half /= 2) t += blockIdx.x < tensors.first[t + half] ? 0 : half; \
    long long begin = 2048ll * (blockIdx.x - tensors.first[t]), rest = tensors.size[t] - begin, \
              end = begin + (rest < 2048 ? rest : 2048);
#define EACH for (long long i = begin + threadIdx.x; i < end; i += blockDim.x)

extern "C" __global__ void lerp(Tensors tensors, const double* weight) {
    TENSOR
    real *p = ARRAY(0), *q = ARRAY(1);
    real w = (real)*weight;
    EACH p[i] += w * (q[i] - p[i]);
}
// expm1(t * log(beta)) is beta^t - 1, to float32's last digit in float32
extern "C" __global__ void adam(Tensors tensors, const double* lr, const long long* steps,
                                real beta1, real beta2, real log1, real log2, real eps) {
    TENSOR
    real *p = ARRAY(0), *m = ARRAY(1), *v = ARRAY(2), *peak = ARRAY(3), *g = ARRAY(5);
    real count = (real)steps[tensors.at[4][t]];
    real rate = (real)*lr / -expm1(count * log1), left = -expm1(count * log2);
    EACH {
        real mean = m[i] + (1 - beta1) * (g[i] - m[i]), square = v[i] + (1 - beta2) * (g[i] * g[i] - v[i]);
        m[i] = mean, v[i] = square;
        if (peak) square = peak[i] = peak[i] >= square ? peak[i] : square;
        p[i] -= rate * mean / (sqrt(square / left) + eps);
    }
}
"""

RANDOM = r"""
__device__ void philox(unsigned* c, unsigned k0, unsigned k1) {
    for (int round = 0; round < 10; round++) {
        unsigned long long p = 0xD2511F53ull * c[0], q = 0xCD9E8D57ull * c[2];
        c[0] = (unsigned)(q >> 32) ^ c[1] ^ k0, c[1] = (unsigned)q;
        c[2] = (unsigned)(p >> 32) ^ c[3] ^ k1, c[3] = (unsigned)p;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
}
#define KEY long long n, unsigned k0, unsigned k1, unsigned draw, const long long* step
// A thread has four words w, for the elements from `at` on; EACH walks them, or every second one.
#define EACH(by) \
    unsigned b = blockIdx.x * blockDim.y + threadIdx.y, w[4] = {b, draw, (unsigned)*step, (unsigned)(*step >> 32)}; \
    philox(w, k0, k1); \
    long long at = 4ll * b; \
    for (int i = 0; i < 4 && at + i < n; i += by)

__device__ float unit(unsigned word) { return (word >> 8) * (1.0f / (1 << 24)); }
extern "C" __global__ void bits(unsigned* out, KEY) { EACH(1) out[at + i] = w[i]; }
extern "C" __global__ void uniform(real* out, KEY) { EACH(1) out[at + i] = unit(w[i]); }
extern "C" __global__ void bernoulli(real* out, KEY, float p, real y) { EACH(1) out[at + i] = unit(w[i]) < p ? y : 0; }
extern "C" __global__ void normal(real* out, KEY) {
    EACH(2) {
        real radius = sqrt((real)-2 * log((real)1 - unit(w[i]))), angle = (real)6.283185307179586 * unit(w[i + 1]);
        out[at + i] = radius * cos(angle);
        if (at + i + 1 < n) out[at + i + 1] = radius * sin(angle);
    }
}
"""
