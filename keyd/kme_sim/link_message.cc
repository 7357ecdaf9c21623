#include "keyd/kme_sim/link_message.h"

#include "keyd/etsi014/limits.h"
#include "keyd/kme_sim/limits.h"

namespace warifu::kme_sim {
namespace {

enum class kind : std::uint8_t { hello = 1, keys = 2, taken = 3 };

constexpr std::size_t text_limit = etsi014::extension_size_limit;

writer start(kind k, std::size_t size_expected = 64) {
    writer out(size_expected);
    out.put_be<std::uint32_t>(0);
    out.put_be(static_cast<std::uint8_t>(k));
    return out;
}

byte_vector finish(writer out) {
    byte_vector bytes = out.take();
    const auto size = static_cast<std::uint32_t>(bytes.size() - link_head_size);
    for (unsigned i = 0; i < 4; ++i) bytes[i] = static_cast<std::byte>(size >> (24 - 8 * i));
    return bytes;
}

void put_text(writer& out, std::string_view text) {
    out.put_sized(as_bytes_view(text));
}

result<std::string> take_text(reader& in) {
    TRY(const auto bytes, in.take_sized(text_limit));
    return std::string(as_text(bytes));
}

result<link_message> take_hello(reader& in) {
    TRY(const auto version, in.take_be<std::uint16_t>());
    if (version != link_version) return fail(errc::bad_version, "the other end speaks another version");
    link_hello m;
    TRY(m.from, take_text(in));
    TRY(m.to, take_text(in));
    TRY_VOID(in.done());
    return m;
}

result<link_message> take_keys(reader& in) {
    link_keys m;
    TRY(m.sequence, in.take_be<std::uint64_t>());
    TRY(m.batch.master, take_text(in));
    TRY(const auto slave_count, in.take_count(4, etsi014::additional_sae_limit + 1));
    for (std::uint32_t i = 0; i < slave_count; ++i) {
        TRY(auto slave, take_text(in));
        m.batch.slaves.push_back(std::move(slave));
    }
    TRY(m.batch.id_extension, take_text(in));
    TRY(m.batch.key_extension, take_text(in));
    TRY(const auto key_count, in.take_count(20, etsi014::key_count_limit));
    for (std::uint32_t i = 0; i < key_count; ++i) {
        TRY(const auto id, in.take<key_id>());
        TRY(const auto bytes, in.take_sized(etsi014::key_size_limit));
        m.batch.keys.push_back({id, std::make_shared<const key_bytes>(bytes)});
    }
    TRY_VOID(in.done());
    return m;
}

result<link_message> take_taken(reader& in) {
    link_taken m;
    TRY(m.sequence, in.take_be<std::uint64_t>());
    TRY(m.code, in.take_be<std::uint16_t>());
    TRY(m.text, take_text(in));
    TRY_VOID(in.done());
    return m;
}

}  // namespace

byte_vector encode_link_hello(const link_hello& m) {
    writer out = start(kind::hello);
    out.put_be(link_version);
    put_text(out, m.from);
    put_text(out, m.to);
    return finish(std::move(out));
}

byte_vector encode_link_keys(std::uint64_t sequence, const key_delivery_batch& batch) {
    std::size_t size = 4096 + batch.id_extension.size() + batch.key_extension.size();
    for (const auto& slave : batch.slaves) size += 4 + slave.size();
    for (const auto& key : batch.keys) size += 20 + key.bytes->view().size();
    writer out = start(kind::keys, size);
    out.put_be(sequence);
    put_text(out, batch.master);
    out.put_be(static_cast<std::uint32_t>(batch.slaves.size()));
    for (const auto& slave : batch.slaves) put_text(out, slave);
    put_text(out, batch.id_extension);
    put_text(out, batch.key_extension);
    out.put_be(static_cast<std::uint32_t>(batch.keys.size()));
    for (const auto& key : batch.keys) out.put(key.id).put_sized(key.bytes->view());
    return finish(std::move(out));
}

byte_vector encode_link_taken(const link_taken& m) {
    writer out = start(kind::taken);
    out.put_be(m.sequence).put_be(m.code);
    put_text(out, m.text);
    return finish(std::move(out));
}

result<link_message> decode_link_message(bytes_view body) {
    if (body.size() > link_message_limit) return fail(errc::too_large, "a message is over its limit");
    reader in(body);
    TRY(const auto k, in.take_be<std::uint8_t>());
    switch (static_cast<kind>(k)) {
        case kind::hello:
            return take_hello(in);
        case kind::keys:
            return take_keys(in);
        case kind::taken:
            return take_taken(in);
    }
    return fail(errc::bad_format, "no such message");
}

}  // namespace warifu::kme_sim
