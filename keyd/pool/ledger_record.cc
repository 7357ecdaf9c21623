#include "keyd/pool/ledger_record.h"

#include "fs/base/assert.h"
#include "fs/base/codec.h"
#include "fs/base/limits.h"
#include "keyd/pool/pad_file.h"
#include "keyd/pool/site_name.h"

namespace warifu {
namespace {

enum class type : std::uint8_t {
    stream_added = 1,
    block_imported,
    window_spent,
    window_closed,
    range_burnt,
    floor_raised,
    hello_spent,
    range_erased,
    block_gone,
    ids_known,
    range_known,
    window_history,
    stream_totals,
};

writer start(type t) {
    writer out(64);
    out.put_be(static_cast<std::uint8_t>(t));
    return out;
}
writer& put_range(writer& out, const pad_range& range) {
    return out.put_be(range.offset).put_be(range.size);
}
writer start_range(type t, std::uint16_t stream, const pad_range& range) {
    writer out = start(t);
    out.put_be(stream);
    put_range(out, range);
    return out;
}
void put_window(writer& out, const window_spent& w) {
    out.put_be(w.stream);
    put_range(out, w.range).put(w.session).put_be(static_cast<std::uint8_t>(w.use));
    out.put_be(static_cast<std::uint64_t>(w.time_ns));
}

struct encoder {
    byte_vector operator()(const stream_added& r) const {
        writer out = start(type::stream_added);
        out.put_be(r.stream).put_sized(as_bytes_view(r.name.sender)).put_sized(as_bytes_view(r.name.receiver));
        return out.take();
    }
    byte_vector operator()(const block_imported& r) const {
        writer out = start(type::block_imported);
        out.put_be(r.stream).put(r.block.id).put_be(static_cast<std::uint8_t>(r.block.kind));
        out.put_be(static_cast<std::uint8_t>(r.block.strength));
        put_range(out, r.block.range).put_be(r.block.hello_size).put_be(static_cast<std::uint64_t>(r.time_ns));
        return out.take();
    }
    byte_vector operator()(const window_spent& r) const {
        writer out = start(type::window_spent);
        put_window(out, r);
        return out.take();
    }
    byte_vector operator()(const window_closed& r) const {
        writer out = start_range(type::window_closed, r.stream, r.range);
        out.put_be(r.used_to).put_be(static_cast<std::uint8_t>(r.burnt));
        return out.take();
    }
    byte_vector operator()(const range_burnt& r) const {
        return start_range(type::range_burnt, r.stream, r.range).take();
    }
    byte_vector operator()(const floor_raised& r) const {
        return start(type::floor_raised).put_be(r.stream).put_be(r.offset).take();
    }
    byte_vector operator()(const hello_spent& r) const {
        return start_range(type::hello_spent, r.stream, r.range).take();
    }
    byte_vector operator()(const range_erased& r) const {
        return start_range(type::range_erased, r.stream, r.range).take();
    }
    byte_vector operator()(const block_gone& r) const {
        return start(type::block_gone).put_be(r.stream).put_be(r.offset).take();
    }
    byte_vector operator()(const ids_known& r) const {
        writer out = start(type::ids_known);
        out.put_be(static_cast<std::uint32_t>(r.ids.size()));
        for (const auto& id : r.ids) out.put(id);
        return out.take();
    }
    byte_vector operator()(const range_known& r) const {
        return start_range(type::range_known, r.stream, r.range).take();
    }
    byte_vector operator()(const window_history& r) const {
        writer out = start(type::window_history);
        put_window(out, r.window);
        out.put_be(r.used_to).put_be(static_cast<std::uint8_t>(r.burnt));
        return out.take();
    }
    byte_vector operator()(const stream_totals& r) const {
        writer out = start(type::stream_totals);
        out.put_be(r.stream).put_be(r.imported).put_be(r.used).put_be(r.burnt).put_be(r.history_dropped);
        out.put_be(static_cast<std::uint8_t>(r.weakest));
        return out.take();
    }
};

result<pad_range> take_range(reader& in) {
    pad_range range;
    TRY(range.offset, in.take_be<std::uint64_t>());
    TRY(range.size, in.take_be<std::uint64_t>());
    if (range.size == 0 || range.end() < range.offset) return fail(errc::bad_format, "a range is empty or wraps");
    return range;
}
result<claim> take_claim(reader& in) {
    TRY(const auto value, in.take_be<std::uint8_t>());
    if (value < 1 || value > 3) return fail(errc::bad_format, "unknown claim");
    return static_cast<claim>(value);
}
result<bool> take_bool(reader& in) {
    TRY(const auto value, in.take_be<std::uint8_t>());
    if (value > 1) return fail(errc::bad_format, "neither yes nor no");
    return value == 1;
}
result<std::string> take_site(reader& in) {
    TRY(const auto bytes, in.take_sized(site_name_size_max));
    if (!is_site_name(as_text(bytes))) return fail(errc::bad_format, "a site name is malformed");
    return std::string(as_text(bytes));
}

result<window_spent> take_window(reader& in) {
    window_spent r;
    TRY(r.stream, in.take_be<std::uint16_t>());
    TRY(r.range, take_range(in));
    TRY_VOID(in.take(r.session));
    TRY(const auto use, in.take_be<std::uint8_t>());
    if (use < 1 || use > 3) return fail(errc::bad_format, "unknown use of key");
    r.use = static_cast<key_use>(use);
    TRY(const auto time, in.take_be<std::uint64_t>());
    r.time_ns = static_cast<std::int64_t>(time);
    return r;
}
result<ledger_record> take_stream_added(reader& in) {
    stream_added r;
    TRY(r.stream, in.take_be<std::uint16_t>());
    TRY(r.name.sender, take_site(in));
    TRY(r.name.receiver, take_site(in));
    return r;
}
result<ledger_record> take_block_imported(reader& in) {
    block_imported r;
    TRY(r.stream, in.take_be<std::uint16_t>());
    TRY_VOID(in.take(r.block.id));
    TRY(const auto kind, in.take_be<std::uint8_t>());
    if (kind < 1 || kind > 2) return fail(errc::bad_format, "unknown kind of block");
    r.block.kind = static_cast<block_kind>(kind);
    TRY(r.block.strength, take_claim(in));
    TRY(r.block.range, take_range(in));
    TRY(r.block.hello_size, in.take_be<std::uint32_t>());
    TRY(const auto time, in.take_be<std::uint64_t>());
    r.time_ns = static_cast<std::int64_t>(time);
    return r;
}
result<ledger_record> take_window_closed(reader& in) {
    window_closed r;
    TRY(r.stream, in.take_be<std::uint16_t>());
    TRY(r.range, take_range(in));
    TRY(r.used_to, in.take_be<std::uint64_t>());
    TRY(r.burnt, take_bool(in));
    return r;
}
result<ledger_record> take_window_history(reader& in) {
    window_history r;
    TRY(r.window, take_window(in));
    TRY(r.used_to, in.take_be<std::uint64_t>());
    TRY(r.burnt, take_bool(in));
    return r;
}
result<ledger_record> take_ids_known(reader& in) {
    ids_known r;
    TRY(const auto count, in.take_count(sizeof(block_id), ledger_record_size_max / sizeof(block_id)));
    r.ids.resize(count);
    for (auto& id : r.ids) TRY_VOID(in.take(id));
    return r;
}
result<ledger_record> take_stream_totals(reader& in) {
    stream_totals r;
    TRY(r.stream, in.take_be<std::uint16_t>());
    TRY(r.imported, in.take_be<std::uint64_t>());
    TRY(r.used, in.take_be<std::uint64_t>());
    TRY(r.burnt, in.take_be<std::uint64_t>());
    TRY(r.history_dropped, in.take_be<std::uint64_t>());
    TRY(r.weakest, take_claim(in));
    return r;
}
template <typename Record>
result<ledger_record> take_ranged(reader& in) {
    Record r;
    TRY(r.stream, in.take_be<std::uint16_t>());
    TRY(r.range, take_range(in));
    return r;
}
template <typename Record>
result<ledger_record> take_placed(reader& in) {
    Record r;
    TRY(r.stream, in.take_be<std::uint16_t>());
    TRY(r.offset, in.take_be<std::uint64_t>());
    return r;
}

result<ledger_record> take_record(reader& in) {
    TRY(const auto code, in.take_be<std::uint8_t>());
    switch (static_cast<type>(code)) {
        case type::stream_added:
            return take_stream_added(in);
        case type::block_imported:
            return take_block_imported(in);
        case type::window_spent:
            return take_window(in);
        case type::window_closed:
            return take_window_closed(in);
        case type::range_burnt:
            return take_ranged<range_burnt>(in);
        case type::floor_raised:
            return take_placed<floor_raised>(in);
        case type::hello_spent:
            return take_ranged<hello_spent>(in);
        case type::range_erased:
            return take_ranged<range_erased>(in);
        case type::block_gone:
            return take_placed<block_gone>(in);
        case type::ids_known:
            return take_ids_known(in);
        case type::range_known:
            return take_ranged<range_known>(in);
        case type::window_history:
            return take_window_history(in);
        case type::stream_totals:
            return take_stream_totals(in);
    }
    return fail(errc::bad_format, "unknown kind of record");
}

}  // namespace

byte_vector encode_ledger_record(const ledger_record& record) {
    auto bytes = std::visit(encoder{}, record);
    WARIFU_ASSERT(bytes.size() <= ledger_record_size_max);
    return bytes;
}

result<ledger_record> decode_ledger_record(bytes_view bytes) {
    reader in(bytes);
    TRY(auto record, take_record(in));
    TRY_VOID(in.done());
    return record;
}

}  // namespace warifu
