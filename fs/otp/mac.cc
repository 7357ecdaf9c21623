#include "fs/otp/mac.h"

#include <openssl/evp.h>

#include "fs/base/assert.h"

namespace warifu {
namespace {

EVP_MAC_CTX* as_context(void* context) {
    return static_cast<EVP_MAC_CTX*>(context);
}

/// Fetched once for the process and never freed: it may be used until the last moment.
EVP_MAC* poly1305() {
    static EVP_MAC* const mac = EVP_MAC_fetch(nullptr, "POLY1305", nullptr);
    WARIFU_ASSERT(mac != nullptr);
    return mac;
}

}  // namespace

void one_time_mac::deleter::operator()(void* context) const {
    EVP_MAC_CTX_free(as_context(context));
}

one_time_mac::one_time_mac() : context_(EVP_MAC_CTX_new(poly1305())) {
    WARIFU_ASSERT(context_ != nullptr);
}

void one_time_mac::begin(bytes_view r, bytes_view s) {
    WARIFU_ASSERT(r.size() == mac_point_size && s.size() == mac_mask_size);
    std::array<std::byte, mac_point_size + mac_mask_size> key;
    std::memcpy(key.data(), r.data(), r.size());
    std::memcpy(key.data() + r.size(), s.data(), s.size());
    const int ok = EVP_MAC_init(as_context(context_.get()), as_uchar(key.data()), key.size(), nullptr);
    wipe(key);
    WARIFU_ASSERT(ok == 1);
}

void one_time_mac::update(bytes_view bytes) {
    WARIFU_ASSERT(EVP_MAC_update(as_context(context_.get()), as_uchar(bytes.data()), bytes.size()) == 1);
}

mac_tag one_time_mac::finish() {
    mac_tag tag;
    std::size_t size = 0;
    WARIFU_ASSERT(EVP_MAC_final(as_context(context_.get()), as_uchar(tag.data()), &size, tag.size()) == 1);
    WARIFU_ASSERT(size == tag.size());
    return tag;
}

mac_tag one_time_tag(bytes_view key32, bytes_view message) {
    WARIFU_ASSERT(key32.size() == mac_point_size + mac_mask_size);
    one_time_mac mac;
    mac.begin(key32.first(mac_point_size), key32.subspan(mac_point_size));
    mac.update(message);
    return mac.finish();
}

}  // namespace warifu
