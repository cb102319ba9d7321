// Latents where they are needed: the same numbers as runtime/streams.py.
//
// Philox4x64-10 (Salmon et al. 2011), its blocks counted as numpy counts them, then the inverse of
// the normal's distribution function by the rational approximations of Cephes' ndtri (Moshier), all
// in double precision and then rounded to float32. Only the logarithms of two libraries may differ in
// the last bit of a double, which moves a float32 in the tails about once in 10^9. Compiled by NVRTC
// for the GPU at hand; the tests compile it for the CPU.

typedef unsigned long long u64;

__device__ static void philox(u64 c[4], u64 key0, u64 key1) {
    for (int round = 0; round < 10; round++) {
        u64 high0 = __umul64hi(0xD2E7470EE14C6C93ULL, c[0]), low0 = 0xD2E7470EE14C6C93ULL * c[0];
        u64 high1 = __umul64hi(0xCA5A826395121157ULL, c[2]), low1 = 0xCA5A826395121157ULL * c[2];
        c[0] = high1 ^ c[1] ^ key0;
        c[1] = low1;
        c[2] = high0 ^ c[3] ^ key1;
        c[3] = low0;
        key0 += 0x9E3779B97F4A7C15ULL;
        key1 += 0xBB67AE8584CAA73BULL;
    }
}

// sum of coefficients[i] x^(n - i)
__device__ static double polynomial(double x, const double *coefficients, int n) {
    double sum = coefficients[0];
    for (int i = 1; i <= n; i++) sum = sum * x + coefficients[i];
    return sum;
}

// The same with a leading 1 that is not among the coefficients.
__device__ static double monic(double x, const double *coefficients, int n) {
    double sum = x + coefficients[0];
    for (int i = 1; i < n; i++) sum = sum * x + coefficients[i];
    return sum;
}

__device__ static double inverse_normal(double p) {
    const double middle[] = {-5.99633501014107895267E1, 9.80010754185999661536E1,
        -5.66762857469070293439E1, 1.39312609387279679503E1, -1.23916583867381258016E0};
    const double under_middle[] = {1.95448858338141759834E0, 4.67627912898881538453E0,
        8.63602421390890590575E1, -2.25462687854119370527E2, 2.00260212380060660359E2,
        -8.20372256168333339912E1, 1.59056225126211695515E1, -1.18331621121330003142E0};
    const double tail[] = {4.05544892305962419923E0, 3.15251094599893866154E1,
        5.71628192246421288162E1, 4.40805073893200834700E1, 1.46849561928858024014E1,
        2.18663306850790267539E0, -1.40256079171354495875E-1, -3.50424626827848203418E-2,
        -8.57456785154685413611E-4};
    const double under_tail[] = {1.57799883256466749731E1, 4.53907635128879210584E1,
        4.13172038254672030440E1, 1.50425385692907503408E1, 2.50464946208309415979E0,
        -1.42182922854787788574E-1, -3.80806407691578277194E-2, -9.33259480895457427372E-4};
    const double far[] = {3.23774891776946035970E0, 6.91522889068984211695E0,
        3.93881025292474443415E0, 1.33303460815807542389E0, 2.01485389549179081538E-1,
        1.23716634817820021358E-2, 3.01581553508235416007E-4, 2.65806974686737550832E-6,
        6.23974539184983293730E-9};
    const double under_far[] = {6.02427039364742014255E0, 3.67983563856160859403E0,
        1.37702099489081330271E0, 2.16236993594496635890E-1, 1.34204006088543189037E-2,
        3.28014464682127739104E-4, 2.89247864745380683936E-6, 6.79019408009981274425E-9};
    const double in_tail = 0.13533528323661269189;  // exp(-2)
    int upper = p > 1.0 - in_tail;
    double y = upper ? 1.0 - p : p;
    if (y > in_tail) {
        y -= 0.5;
        double square = y * y;
        double x = y + y * (square * polynomial(square, middle, 4) / monic(square, under_middle, 8));
        return x * 2.50662827463100050242;  // sqrt(2 pi)
    }
    double x = sqrt(-2.0 * log(y));
    double near = x - log(x) / x;
    double z = 1.0 / x;
    double rest = x < 8.0 ? z * polynomial(z, tail, 8) / monic(z, under_tail, 8)
                          : z * polynomial(z, far, 8) / monic(z, under_far, 8);
    return upper ? near - rest : rest - near;
}

// latents [rows, values]: row r is item number[r] of stream `stream` of seed[r], its uniforms
// mapped to low[r] + u span[r] before the inverse, and the result kept within +-limit[r].
extern "C" __global__ void normals(const u64 *seed, const u64 *number, const double *low,
                                   const double *span, const double *limit, float *latents,
                                   int rows, int values, u64 stream) {
    int blocks = (values + 3) / 4;
    long long work = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (work >= (long long)rows * blocks) return;
    int row = work / blocks, block = work % blocks;
    // numpy counts its counter up before it draws: block 0 of item 0 has counter 1.
    u64 c[4] = {number[row] * blocks, __umul64hi(number[row], blocks), 0, 0};
    c[0] += block + 1;
    c[1] += c[0] < (u64)(block + 1);
    philox(c, seed[row], stream);
    for (int i = 0; i < 4 && 4 * block + i < values; i++) {
        double uniform = ((double)(c[i] >> 12) + 0.5) * 2.220446049250313e-16;  // 2^-52
        float x = (float)inverse_normal(uniform * span[row] + low[row]);
        float bound = (float)limit[row];
        latents[(long long)row * values + 4 * block + i] = fminf(fmaxf(x, -bound), bound);
    }
}
