#pragma once
// Result and error types. Expected failures are values; exceptions stop at the edge of foreign libraries.

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace warifu {

/// Why an operation failed. Few and explained: a caller acts on the code, a person reads the text.
enum class errc : std::uint16_t {
    bad_argument = 1,  // the caller's request makes no sense
    bad_format,        // bytes that do not follow their format page
    bad_version,       // a format or protocol version that this program does not speak
    bad_checksum,      // CRC32C mismatch: a medium or a memory failed
    bad_tag,           // one-time MAC, data tag, AMD codeword or share hash does not verify: somebody lied
    not_found,         // no such chunk, record, block, file
    exists,            // already there
    conflict,          // already there with other contents
    stale_epoch,       // the caller's ballot is lower than one promised: it lost its authority for good
    denied,            // the access list or the peer's credentials forbid it
    no_space,          // the store is full
    no_key,            // no pad or random bytes, and none came within the time-out
    timed_out,         // a deadline passed
    unreachable,       // the peer is down or the connection was lost; a retry may help
    busy,              // a live owner exists, or a limit is reached; a retry may help
    read_only,         // the volume, mount or link does not accept writes
    too_large,         // over a limit of fs/base/limits.h
    io_error,          // the operating system or the device failed
    unsupported,       // not implemented, and documented so
    cancelled,         // interrupted by the caller or by shutdown
    missing_shares,    // fewer than k good shares answered
    disputed,          // the newest journal record is claimed but cannot be rebuilt
    // POSIX outcomes of the namespace
    not_empty,
    is_directory,
    not_directory,
    name_too_long,
    no_attribute,
    not_permitted,
    access_denied,
    too_many_links,
    symlink_loop,
    range,
    file_too_big,
    stale_handle,
    no_such_address,
};

std::string_view to_string(errc code);

/// An error: its code and one line for a person. The text never holds names, content or key bytes of a volume.
struct error {
    errc code;
    std::string text;

    explicit error(errc c) : code(c) {}
    error(errc c, std::string t) : code(c), text(std::move(t)) {}

    /// "bad_format: journal record ends early"
    std::string message() const;
};

template <typename T = void>
using result = std::expected<T, error>;

inline std::unexpected<error> fail(errc code) {
    return std::unexpected<error>(error(code));
}
inline std::unexpected<error> fail(errc code, std::string text) {
    return std::unexpected<error>(error(code, std::move(text)));
}
inline std::unexpected<error> fail(error e) {
    return std::unexpected<error>(std::move(e));
}

}  // namespace warifu

#define WARIFU_CONCAT_(a, b) a##b
#define WARIFU_CONCAT(a, b) WARIFU_CONCAT_(a, b)

/// TRY(const auto x, expression): binds the value of a result or returns its error. TRY_VOID for results without a
/// value. The CO_ forms are for coroutines.
#define TRY(declaration, expression)                                                                             \
    auto WARIFU_CONCAT(try_, __LINE__) = (expression);                                                           \
    if (!WARIFU_CONCAT(try_, __LINE__)) return ::warifu::fail(std::move(WARIFU_CONCAT(try_, __LINE__)).error()); \
    declaration = std::move(*WARIFU_CONCAT(try_, __LINE__))
#define TRY_VOID(expression)                                                     \
    do {                                                                         \
        auto try_result_ = (expression);                                         \
        if (!try_result_) return ::warifu::fail(std::move(try_result_).error()); \
    } while (false)
#define CO_TRY(declaration, expression)                                                                             \
    auto WARIFU_CONCAT(try_, __LINE__) = (expression);                                                              \
    if (!WARIFU_CONCAT(try_, __LINE__)) co_return ::warifu::fail(std::move(WARIFU_CONCAT(try_, __LINE__)).error()); \
    declaration = std::move(*WARIFU_CONCAT(try_, __LINE__))
#define CO_TRY_VOID(expression)                                                     \
    do {                                                                            \
        auto try_result_ = (expression);                                            \
        if (!try_result_) co_return ::warifu::fail(std::move(try_result_).error()); \
    } while (false)
