#include "fs/base/gf128.h"

#include <gtest/gtest.h>

namespace warifu {
namespace {

gf128 x_to(unsigned e) {
    return e < 64 ? gf128{1ULL << e, 0} : gf128{0, 1ULL << (e - 64U)};
}

TEST(gf128, x_to_the_128_is_the_reduction_polynomial) {
    EXPECT_EQ(multiply(x_to(127), x_to(1)), (gf128{0x87, 0}));
    EXPECT_EQ(multiply(x_to(64), x_to(64)), (gf128{0x87, 0}));
    EXPECT_EQ(multiply(x_to(127), x_to(127)), multiply(power(x_to(1), 254), x_to(0)));
}

TEST(gf128, field_laws) {
    const gf128 a{0x0123456789abcdefULL, 0xfedcba9876543210ULL};
    const gf128 b{0xdeadbeefcafef00dULL, 0x1122334455667788ULL};
    const gf128 c{0x5555aaaa5555aaaaULL, 0x8000000000000001ULL};
    EXPECT_EQ(multiply(a, b), multiply(b, a));
    EXPECT_EQ(multiply(multiply(a, b), c), multiply(a, multiply(b, c)));
    EXPECT_EQ(multiply(a, b ^ c), multiply(a, b) ^ multiply(a, c));
    // Fermat: a^(2^128) = a, by 128 squarings.
    gf128 square = a;
    for (int i = 0; i < 128; ++i) square = multiply(square, square);
    EXPECT_EQ(square, a);
}

TEST(gf128, evaluation_is_horner_and_chains) {
    const gf128 r{0x1234567890abcdefULL, 0x0f1e2d3c4b5a6978ULL};
    const gf128_point point(r);
    byte_vector data(16 * 37 + 5);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 131 + 7);
    gf128 slow;
    for (std::size_t i = 0; i < data.size(); i += 16) {
        std::array<std::byte, 16> symbol{};
        std::memcpy(symbol.data(), data.data() + i, std::min<std::size_t>(16, data.size() - i));
        slow = multiply(slow ^ gf128::load(symbol.data()), r);
    }
    EXPECT_EQ(point.evaluate(data), slow);
    const bytes_view view(data);
    EXPECT_EQ(point.evaluate(view.subspan(16 * 9), point.evaluate(view.first(16 * 9))), slow);
}

TEST(gf128, kernels_agree_for_every_size) {
    ASSERT_EQ(available_gf128_kernels().front(), gf128_kernel::portable);
    const gf128_point point(gf128{0x1234567890abcdefULL, 0x8f1e2d3c4b5a6978ULL});
    const gf128 start{0xffffffffffffffffULL, 0x8000000000000000ULL};
    byte_vector data(1200);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 73 + (i >> 5U) + 200);
    for (std::size_t size = 0; size <= data.size(); size += (size < 130 ? 1 : 7)) {
        const bytes_view bytes = bytes_view(data).first(size);
        const gf128 expected = point.evaluate_with(gf128_kernel::portable, bytes, start);
        for (const gf128_kernel kernel : available_gf128_kernels())
            EXPECT_EQ(point.evaluate_with(kernel, bytes, start), expected) << static_cast<int>(kernel) << ' ' << size;
        EXPECT_EQ(point.evaluate(bytes, start), expected);
    }
}

TEST(gf128, powers_are_products) {
    const gf128 r{0x1234567890abcdefULL, 0xf00d};
    gf128 product{1, 0};
    for (unsigned e = 0; e < 70; ++e) {
        EXPECT_EQ(power(r, e), product) << e;
        product = multiply(product, r);
    }
    EXPECT_EQ(gf128_point(r).value(), r);
}

}  // namespace
}  // namespace warifu
