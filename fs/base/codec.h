#pragma once
// Big-endian encoding and decoding of every byte format. A reader never reads past its end and never allocates more
// than what is left of its input.

#include <array>
#include <concepts>
#include <string>

#include "fs/base/bytes.h"
#include "fs/base/error.h"
#include "fs/base/ids.h"

namespace warifu {

/// Four bytes at `at`, in the place of a checksum that covers what stands around it.
inline void store_be32(std::byte* at, std::uint32_t value) {
    for (std::size_t i = 0; i < 4; ++i) at[i] = static_cast<std::byte>((value >> (24 - 8 * i)) & 0xffU);
}
inline std::uint32_t load_be32(bytes_view bytes) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = (value << 8U) | std::to_integer<std::uint32_t>(bytes[i]);
    return value;
}

/// Takes values from the front of a byte string; fails with bad_format where the input ends early.
class reader {
  public:
    explicit reader(bytes_view in) : in_(in) {}

    std::size_t left() const { return in_.size(); }

    template <std::unsigned_integral T>
    result<T> take_be() {
        if (in_.size() < sizeof(T)) return fail(errc::bad_format, "input ends early");
        T value = 0;
        for (std::size_t i = 0; i < sizeof(T); ++i)
            value = static_cast<T>((static_cast<std::uint64_t>(value) << 8U) | std::to_integer<std::uint64_t>(in_[i]));
        in_ = in_.subspan(sizeof(T));
        return value;
    }
    result<bytes_view> take_bytes(std::size_t size) {
        if (in_.size() < size) return fail(errc::bad_format, "input ends early");
        const bytes_view taken = in_.first(size);
        in_ = in_.subspan(size);
        return taken;
    }
    bytes_view take_rest() { return std::exchange(in_, bytes_view{}); }

    /// A 32-bit length and that many bytes; too_large when the length is over `size_max`.
    result<bytes_view> take_sized(std::size_t size_max) {
        TRY(const auto size, take_be<std::uint32_t>());
        if (size > size_max) return fail(errc::too_large, "a length is over its limit");
        return take_bytes(size);
    }
    /// A 32-bit count of elements of at least `element_size` bytes each, so that a lying count cannot cause an
    /// allocation.
    result<std::uint32_t> take_count(std::size_t element_size, std::size_t count_max) {
        TRY(const auto count, take_be<std::uint32_t>());
        if (count > count_max) return fail(errc::too_large, "a count is over its limit");
        if (count * element_size > in_.size()) return fail(errc::bad_format, "input ends early");
        return count;
    }
    template <typename Tag>
    result<void> take(uuid_of<Tag>& id) {
        TRY(const auto bytes, take_bytes(id.bytes.size()));
        std::memcpy(id.bytes.data(), bytes.data(), bytes.size());
        return {};
    }
    template <typename Id>
    result<Id> take() {
        if constexpr (std::same_as<Id, ballot>) {
            TRY(const auto counter, take_be<std::uint64_t>());
            TRY(const auto nonce, take_be<std::uint64_t>());
            return ballot{counter, nonce};
        } else if constexpr (std::same_as<Id, chunk_id>) {
            TRY(const auto epoch, take<ballot>());
            TRY(const auto sequence, take_be<std::uint64_t>());
            return chunk_id{epoch, sequence};
        } else {
            Id id;
            TRY_VOID(take(id));
            return id;
        }
    }
    /// Success only when everything was taken.
    result<void> done() const {
        if (!in_.empty()) return fail(errc::bad_format, "trailing bytes");
        return {};
    }

  private:
    bytes_view in_;
};

/// Appends values to a byte string that it owns.
class writer {
  public:
    writer() = default;
    explicit writer(std::size_t size_expected) { out_.reserve(size_expected); }
    /// Goes on behind these bytes.
    explicit writer(byte_vector front) : out_(std::move(front)) {}

    template <std::unsigned_integral T>
    writer& put_be(T value) {
        std::array<std::byte, sizeof(T)> bytes;
        for (std::size_t i = 0; i < sizeof(T); ++i)
            bytes[i] = static_cast<std::byte>((static_cast<std::uint64_t>(value) >> (8 * (sizeof(T) - 1 - i))) & 0xffU);
        return put_bytes(bytes);
    }
    writer& put_bytes(bytes_view bytes) {
        out_.insert(out_.end(), bytes.begin(), bytes.end());
        return *this;
    }
    writer& put_sized(bytes_view bytes) {
        put_be(static_cast<std::uint32_t>(bytes.size()));
        return put_bytes(bytes);
    }
    template <typename Tag>
    writer& put(const uuid_of<Tag>& id) {
        return put_bytes(id.bytes);
    }
    writer& put(const ballot& b) { return put_be(b.counter).put_be(b.nonce); }
    writer& put(const chunk_id& id) { return put(id.epoch).put_be(id.sequence); }

    std::size_t size() const { return out_.size(); }
    bytes_view view() const { return out_; }
    byte_vector take() { return std::move(out_); }

  private:
    byte_vector out_;
};

}  // namespace warifu
