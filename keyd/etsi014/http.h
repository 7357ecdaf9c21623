#pragma once
// What Beast needs to carry key: a message body in memory that is wiped, and an input buffer that wipes what it lets
// go. Include only in the files that speak HTTP: it is slow to compile.

#include <algorithm>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/optional.hpp>

#include "fs/base/buffer.h"
#include "keyd/etsi014/tls.h"

namespace warifu::etsi014 {

namespace beast = boost::beast;
namespace http = boost::beast::http;

using tls_stream = ssl::stream<beast::tcp_stream>;

template <typename T>
struct wiping_allocator {
    using value_type = T;
    wiping_allocator() = default;
    template <typename U>
    wiping_allocator(const wiping_allocator<U>&) {}  // NOLINT: what allocators must offer
    T* allocate(std::size_t count) { return std::allocator<T>().allocate(count); }
    void deallocate(T* p, std::size_t count) {
        wipe(std::as_writable_bytes(std::span(p, count)));
        std::allocator<T>().deallocate(p, count);
    }
    bool operator==(const wiping_allocator&) const = default;
};
using wiping_flat_buffer = beast::basic_flat_buffer<wiping_allocator<char>>;

/// What is reserved in an input buffer: Beast reads as much as fits without growing it, and no less than 512 bytes; a
/// buffer that nobody reserved stays at that, a TLS record brings up to 16 KiB.
constexpr std::size_t input_reserve = 32U << 10U;

/// A body held in a `buffer`. Received: `size` counts what has come; the buffer is as large as Content-Length says, or
/// grows (its old memory is wiped). The parser's body_limit bounds it.
struct wiped_body {
    struct value_type {
        buffer bytes;
        std::size_t filled = 0;
        std::string_view text() const { return as_text(bytes.view(0, filled)); }
    };
    static std::uint64_t size(const value_type& body) { return body.filled; }

    class reader {
      public:
        template <bool is_request, class Fields>
        explicit reader(http::header<is_request, Fields>&, value_type& body) : body_(body) {}
        void init(const boost::optional<std::uint64_t>& length, beast::error_code& ec) {
            ec = {};
            // A claimed length is believed up to here; beyond, the bytes must come first.
            constexpr std::uint64_t believed = 8U << 20U;
            if (length) body_.bytes = buffer(static_cast<std::size_t>(std::min(*length, believed)));
        }
        template <class Buffers>
        std::size_t put(const Buffers& buffers, beast::error_code& ec) {
            ec = {};
            const std::size_t more = beast::buffer_bytes(buffers);
            if (body_.filled + more > body_.bytes.size()) {
                buffer larger(std::max<std::size_t>(body_.filled + more, 2 * body_.bytes.size()));
                if (body_.filled > 0) std::memcpy(larger.data(), body_.bytes.data(), body_.filled);
                body_.bytes = std::move(larger);
            }
            asio::buffer_copy(asio::buffer(body_.bytes.data() + body_.filled, more), buffers);
            body_.filled += more;
            return more;
        }
        void finish(beast::error_code& ec) { ec = {}; }

      private:
        value_type& body_;
    };

    class writer {
      public:
        using const_buffers_type = asio::const_buffer;
        template <bool is_request, class Fields>
        explicit writer(const http::header<is_request, Fields>&, const value_type& body) : body_(body) {}
        void init(beast::error_code& ec) { ec = {}; }
        boost::optional<std::pair<const_buffers_type, bool>> get(beast::error_code& ec) {
            ec = {};
            return {{const_buffers_type(body_.bytes.data(), body_.filled), false}};
        }

      private:
        const value_type& body_;
    };
};

}  // namespace warifu::etsi014
