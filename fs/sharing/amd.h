#pragma once
// AMD codewords (Cramer, Dodis, Fehr, Padro, Wichs, EUROCRYPT 2008): metadata that shows without any key whether k-1 of
// the shares it was reconstructed from were changed. Layout (FORMAT.md):
//     T (16) | x (16) | header (64) | payload | zeros
//
// Over GF(2^128): T = x^e + sum s_i x^i for the d symbols s_d .. s_1 of header and payload (the first symbol has the
// highest power; the payload is zero-padded to 16 bytes), e the least odd number >= d + 2, x fresh and random. Sites
// that change shares add differences that they choose without knowing x: a forgery passes with probability <= e /
// 2^128, at most 2^-109 for 4 MiB. The length in the header is checked against what was received, so it fixes d.

#include <optional>

#include "fs/base/buffer.h"
#include "fs/base/ids.h"
#include "fs/base/random.h"
#include "fs/sharing/scheme.h"

namespace warifu {

enum class codeword_type : std::uint8_t {
    volume_record = 1,
    epoch_record = 2,
    journal_record = 3,
    sst = 4,         // a piece of a RocksDB file: sequence = the chunk's, piece = its number
    hash_table = 5,  // the share hashes of a chunk: sequence = the chunk's
};

/// What a codeword is, apart from k, n and its length.
struct codeword_name {
    volume_id volume;
    codeword_type type = codeword_type::journal_record;
    ballot epoch;
    std::uint64_t sequence = 0;
    std::uint32_t piece = 0;
    bool operator==(const codeword_name&) const = default;
};

inline constexpr std::size_t codeword_header_size = 64;
inline constexpr std::size_t codeword_point_size = 16;  // x
inline constexpr std::size_t codeword_overhead = 16 + codeword_point_size + codeword_header_size;

/// Bytes of a codeword without its padding: the size of the piece that is split.
constexpr std::size_t codeword_size(std::size_t payload_size) {
    return codeword_overhead + payload_size;
}
/// Bytes of a codeword with its padding, and of each of its n shares.
std::size_t codeword_share_size(const scheme& shape, std::size_t payload_size);

/// The codeword, padded to codeword_share_size(): ready for split(). Draws 16 random bytes.
/// Errors: too_large (payload over codeword_payload_size_max), the source's own.
result<buffer> encode_codeword(const scheme& shape, const codeword_name& name, bytes_view payload,
                               random_source& randomness);

struct decoded_codeword {
    codeword_name name;
    bytes_view payload;  // inside of what was decoded
};

/// Verifies a reconstructed codeword under the scheme it was split with. bad_tag: it was changed, or is no codeword of
/// this scheme and size. What it names is authentic but not yet what the caller asked for: open_codeword checks that
/// too.
result<decoded_codeword> decode_codeword(const scheme& shape, bytes_view received);

/// Verifies, and checks every field of the header against what the caller expects. Returns the payload (inside of
/// `received`). Errors: bad_tag, for a changed codeword and for a genuine one of another name or length alike.
result<bytes_view> open_codeword(const scheme& shape, const codeword_name& expected, bytes_view received,
                                 std::optional<std::size_t> payload_size = std::nullopt);

}  // namespace warifu
