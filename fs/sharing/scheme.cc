#include "fs/sharing/scheme.h"

#include "fs/base/assert.h"

namespace warifu {
namespace {

bool is_prime(unsigned value) {
    for (unsigned divisor = 2; divisor * divisor <= value; ++divisor)
        if (value % divisor == 0) return false;
    return value >= 2;
}

}  // namespace

result<scheme> scheme::make(unsigned k, unsigned n) {
    if (k < 2) return fail(errc::bad_argument, "a sharing scheme needs k >= 2: one share must not be the secret");
    if (n < k) return fail(errc::bad_argument, "a sharing scheme needs n >= k");
    if (n > site_count_max) return fail(errc::bad_argument, "a sharing scheme has at most 16 shares");
    unsigned prime = n < 3 ? 3 : n;
    while (!is_prime(prime)) ++prime;
    return scheme(k, n, prime);
}

std::vector<unsigned> share_terms(const scheme& shape, unsigned share, unsigned block) {
    const unsigned p = shape.prime();
    WARIFU_ASSERT(share < p && block < p - 1);
    std::vector<unsigned> terms;
    terms.push_back(block);  // h = 0: r^0_j, and j never reaches p-1, whose random is zero
    for (unsigned h = 1; h + 1 < shape.k(); ++h) terms.push_back((p - 1) + (h - 1) * p + (h * share + block) % p);
    const unsigned secret = (block + p - share) % p;
    if (secret != 0) terms.push_back(shape.random_blocks_per_unit() + secret - 1);  // s_0 is zero
    return terms;
}

}  // namespace warifu
