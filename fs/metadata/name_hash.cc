#include "fs/metadata/name_hash.h"

#include <algorithm>
#include <bit>

namespace warifu {
namespace {

std::uint64_t load_little(bytes_view bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = bytes.size(); i-- > 0;) value = (value << 8U) | std::to_integer<std::uint64_t>(bytes[i]);
    return value;
}

struct sip_state {
    std::uint64_t a, b, c, d;

    void round() {
        a += b;
        c += d;
        b = std::rotl(b, 13) ^ a;
        d = std::rotl(d, 16) ^ c;
        a = std::rotl(a, 32);
        c += b;
        a += d;
        b = std::rotl(b, 17) ^ c;
        d = std::rotl(d, 21) ^ a;
        c = std::rotl(c, 32);
    }
    void absorb(std::uint64_t word) {
        d ^= word;
        round();
        round();
        a ^= word;
    }
};

}  // namespace

std::uint64_t siphash(const name_hash_key& key, bytes_view message) {
    const std::uint64_t k0 = load_little(bytes_view(key).first(8));
    const std::uint64_t k1 = load_little(bytes_view(key).last(8));
    sip_state s{k0 ^ 0x736f6d6570736575ULL, k1 ^ 0x646f72616e646f6dULL, k0 ^ 0x6c7967656e657261ULL,
                k1 ^ 0x7465646279746573ULL};
    const std::size_t whole = message.size() / 8 * 8;
    for (std::size_t i = 0; i < whole; i += 8) s.absorb(load_little(message.subspan(i, 8)));
    s.absorb(load_little(message.subspan(whole)) | (std::uint64_t{message.size() & 0xffU} << 56U));
    s.c ^= 0xff;
    for (int i = 0; i < 4; ++i) s.round();
    return s.a ^ s.b ^ s.c ^ s.d;
}

std::uint64_t first_cookie(const name_hash_key& key, std::string_view name) {
    const std::uint64_t hash = siphash(key, as_bytes_view(name)) >> 9U;  // 55 bits
    return std::max<std::uint64_t>(hash, 1) << 8U;
}

}  // namespace warifu
