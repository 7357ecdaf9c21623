#include "fs/wire/share_messages.h"

namespace warifu {
namespace {

constexpr std::size_t chunk_id_size = 24;
constexpr std::size_t range_size = 12;
constexpr std::size_t removal_size_min = chunk_id_size + 8;

message_body body_of(writer& out) {
    message_body body;
    body.fields = out.take();
    return body;
}

/// For messages without payload: decodes with `take` and checks that nothing is left.
template <typename T, typename Take>
result<T> decode_fields(const body_view& body, Take take) {
    TRY(reader in, fields_only(body));
    T value;
    TRY_VOID(take(in, value));
    TRY_VOID(in.done());
    return value;
}

void put_chunks(writer& out, const std::vector<chunk_id>& chunks) {
    out.put_be(static_cast<std::uint32_t>(chunks.size()));
    for (const chunk_id& chunk : chunks) out.put(chunk);
}

result<std::vector<chunk_id>> take_chunks(reader& in, std::size_t count_max) {
    TRY(const auto count, in.take_count(chunk_id_size, count_max));
    std::vector<chunk_id> chunks;
    chunks.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        TRY(const auto chunk, in.take<chunk_id>());
        chunks.push_back(chunk);
    }
    return chunks;
}

void put_ranges(writer& out, const std::vector<share_range>& ranges) {
    out.put_be(static_cast<std::uint32_t>(ranges.size()));
    for (const share_range& r : ranges) out.put_be(r.part).put_be(r.offset).put_be(r.size);
}

result<std::vector<share_range>> take_ranges(reader& in, std::size_t count_max) {
    TRY(const auto count, in.take_count(range_size, count_max));
    std::vector<share_range> ranges;
    ranges.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        share_range r;
        TRY(r.part, in.take_be<std::uint32_t>());
        TRY(r.offset, in.take_be<std::uint32_t>());
        TRY(r.size, in.take_be<std::uint32_t>());
        ranges.push_back(r);
    }
    return ranges;
}

void put_sizes(writer& out, const std::vector<slice>& parts) {
    out.put_be(static_cast<std::uint32_t>(parts.size()));
    for (const slice& part : parts) out.put_be(static_cast<std::uint32_t>(part.size()));
}

result<std::vector<std::uint32_t>> take_numbers(reader& in, std::size_t count_max) {
    TRY(const auto count, in.take_count(sizeof(std::uint32_t), count_max));
    std::vector<std::uint32_t> numbers;
    numbers.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        TRY(const auto number, in.take_be<std::uint32_t>());
        numbers.push_back(number);
    }
    return numbers;
}

/// Cuts a payload into parts, in order.
class cutter {
  public:
    explicit cutter(slice payload) : payload_(std::move(payload)) {}
    result<slice> take(std::size_t size) {
        if (size > payload_.size() - position_) return fail(errc::bad_format, "a payload ends early");
        return payload_.part(std::exchange(position_, position_ + size), size);
    }
    result<void> done() const {
        if (position_ != payload_.size()) return fail(errc::bad_format, "trailing payload");
        return {};
    }

  private:
    slice payload_;
    std::size_t position_ = 0;
};

void put_identity(writer& out, const writer_identity& w) {
    out.put_sized(as_bytes_view(std::string_view(w.machine).substr(0, identity_text_size_max)));
    out.put_sized(as_bytes_view(std::string_view(w.boot).substr(0, identity_text_size_max)));
    out.put_be(w.pid).put_be(w.start);
}

result<writer_identity> take_identity(reader& in) {
    writer_identity w;
    TRY(const auto machine, in.take_sized(identity_text_size_max));
    TRY(const auto boot, in.take_sized(identity_text_size_max));
    w.machine = as_text(machine);
    w.boot = as_text(boot);
    TRY(w.pid, in.take_be<std::uint64_t>());
    TRY(w.start, in.take_be<std::uint64_t>());
    return w;
}

void put_entry(writer& out, const journal_entry& entry) {
    out.put_be(entry.sequence).put(entry.epoch).put_be(static_cast<std::uint32_t>(entry.share.size()));
    put_chunks(out, entry.chunks);
}
constexpr std::size_t entry_size_min = 8 + 16 + 4 + 4;

result<journal_entry> take_entry(reader& in, cutter& payload) {
    journal_entry entry;
    TRY(entry.sequence, in.take_be<std::uint64_t>());
    TRY(entry.epoch, in.take<ballot>());
    TRY(const auto size, in.take_be<std::uint32_t>());
    TRY(entry.chunks, take_chunks(in, record_chunk_count_max));
    TRY(entry.share, payload.take(size));
    return entry;
}

}  // namespace

result<void> decode_empty(const body_view& body) {
    if (!body.fields.empty() || !body.payload.empty()) return fail(errc::bad_format, "trailing bytes");
    return {};
}

message_body encode_state_response(const store_state& state) {
    writer out;
    out.put(state.incarnation).put(state.promised);
    out.put_be(state.journal.first).put_be(state.journal.last).put(state.journal.last_epoch);
    out.put_be(state.capacity).put_be(state.free);
    out.put_be(static_cast<std::uint8_t>(state.heartbeat ? 1 : 0));
    if (state.heartbeat) {
        out.put(state.heartbeat->authority).put_be(state.heartbeat->age_ms);
        put_identity(out, state.heartbeat->writer);
    }
    return body_of(out);
}

result<store_state> decode_state_response(const body_view& body) {
    return decode_fields<store_state>(body, [](reader& in, store_state& state) -> result<void> {
        TRY(state.incarnation, in.take<incarnation_id>());
        TRY(state.promised, in.take<ballot>());
        TRY(state.journal.first, in.take_be<std::uint64_t>());
        TRY(state.journal.last, in.take_be<std::uint64_t>());
        TRY(state.journal.last_epoch, in.take<ballot>());
        TRY(state.capacity, in.take_be<std::uint64_t>());
        TRY(state.free, in.take_be<std::uint64_t>());
        TRY(const auto heard, in.take_be<std::uint8_t>());
        if (heard > 1) return fail(errc::bad_format, "a flag is neither 0 nor 1");
        if (heard == 0) return {};
        heartbeat_state beat;
        TRY(beat.authority, in.take<ballot>());
        TRY(beat.age_ms, in.take_be<std::uint32_t>());
        TRY(beat.writer, take_identity(in));
        state.heartbeat = std::move(beat);
        return {};
    });
}

message_body encode_reserve_request(const reserve_request& request) {
    writer out;
    out.put(request.authority).put_be(request.size);
    return body_of(out);
}

result<reserve_request> decode_reserve_request(const body_view& body) {
    return decode_fields<reserve_request>(body, [](reader& in, reserve_request& request) -> result<void> {
        TRY(request.authority, in.take<ballot>());
        TRY(request.size, in.take_be<std::uint64_t>());
        return {};
    });
}

message_body encode_put_request(const share_put& share) {
    writer out(chunk_id_size + 64 + 4 * share.pieces.size());
    out.put(share.chunk).put(share.authority).put_be(share.index.value).put(share.policy);
    out.put_be(static_cast<std::uint32_t>(share.side.size()));
    put_sizes(out, share.pieces);
    message_body body = body_of(out);
    body.payload = share.pieces;
    if (!share.side.empty()) body.payload.push_back(share.side);
    return body;
}

result<share_put> decode_put_request(const body_view& body) {
    reader in(body.fields);
    cutter payload(body.payload);
    share_put share;
    TRY(share.chunk, in.take<chunk_id>());
    TRY(share.authority, in.take<ballot>());
    TRY(share.index.value, in.take_be<std::uint8_t>());
    TRY(share.policy, in.take<policy_id>());
    TRY(const auto side_size, in.take_be<std::uint32_t>());
    TRY(const auto sizes, take_numbers(in, chunk_piece_count_max));
    TRY_VOID(in.done());
    share.pieces.reserve(sizes.size());
    for (const std::uint32_t size : sizes) {
        TRY(auto piece, payload.take(size));
        share.pieces.push_back(std::move(piece));
    }
    TRY(share.side, payload.take(side_size));
    TRY_VOID(payload.done());
    return share;
}

message_body encode_get_request(const get_request& request) {
    writer out(chunk_id_size + 4 + range_size * request.ranges.size());
    out.put(request.chunk);
    put_ranges(out, request.ranges);
    return body_of(out);
}

result<get_request> decode_get_request(const body_view& body) {
    return decode_fields<get_request>(body, [](reader& in, get_request& request) -> result<void> {
        TRY(request.chunk, in.take<chunk_id>());
        TRY(request.ranges, take_ranges(in, get_range_count_max));
        return {};
    });
}

message_body encode_get_response(std::vector<slice> ranges) {
    writer out(4 + 4 * ranges.size());
    put_sizes(out, ranges);
    message_body body = body_of(out);
    body.payload = std::move(ranges);
    return body;
}

result<std::vector<slice>> decode_get_response(const body_view& body) {
    reader in(body.fields);
    cutter payload(body.payload);
    TRY(const auto sizes, take_numbers(in, get_range_count_max));
    TRY_VOID(in.done());
    std::vector<slice> ranges;
    ranges.reserve(sizes.size());
    for (const std::uint32_t size : sizes) {
        TRY(auto range, payload.take(size));
        ranges.push_back(std::move(range));
    }
    TRY_VOID(payload.done());
    return ranges;
}

message_body encode_describe_request(const chunk_id& chunk) {
    writer out;
    out.put(chunk);
    return body_of(out);
}

result<chunk_id> decode_describe_request(const body_view& body) {
    return decode_fields<chunk_id>(body, [](reader& in, chunk_id& chunk) -> result<void> {
        TRY(chunk, in.take<chunk_id>());
        return {};
    });
}

message_body encode_describe_response(const share_description& share) {
    writer out;
    out.put_be(share.index.value).put(share.policy).put_be(share.side_size);
    out.put_be(static_cast<std::uint32_t>(share.piece_sizes.size()));
    for (const std::uint32_t size : share.piece_sizes) out.put_be(size);
    return body_of(out);
}

result<share_description> decode_describe_response(const body_view& body) {
    return decode_fields<share_description>(body, [](reader& in, share_description& share) -> result<void> {
        TRY(share.index.value, in.take_be<std::uint8_t>());
        TRY(share.policy, in.take<policy_id>());
        TRY(share.side_size, in.take_be<std::uint32_t>());
        TRY(share.piece_sizes, take_numbers(in, chunk_piece_count_max));
        return {};
    });
}

message_body encode_remove_request(const remove_request& request) {
    writer out;
    out.put(request.authority).put_be(static_cast<std::uint32_t>(request.removals.size()));
    for (const share_removal& removal : request.removals) {
        out.put(removal.chunk).put_be(static_cast<std::uint32_t>(removal.pieces.size()));
        for (const std::uint32_t piece : removal.pieces) out.put_be(piece);
        put_ranges(out, removal.side_ranges);
    }
    return body_of(out);
}

result<remove_request> decode_remove_request(const body_view& body) {
    return decode_fields<remove_request>(body, [](reader& in, remove_request& request) -> result<void> {
        TRY(request.authority, in.take<ballot>());
        TRY(const auto count, in.take_count(removal_size_min, remove_count_max));
        request.removals.reserve(count);
        for (std::uint32_t i = 0; i < count; ++i) {
            share_removal removal;
            TRY(removal.chunk, in.take<chunk_id>());
            TRY(removal.pieces, take_numbers(in, chunk_piece_count_max));
            TRY(removal.side_ranges, take_ranges(in, remove_part_count_max));
            request.removals.push_back(std::move(removal));
        }
        return {};
    });
}

message_body encode_list_request(const list_request& request) {
    writer out;
    out.put(request.after).put_be(request.count);
    return body_of(out);
}

result<list_request> decode_list_request(const body_view& body) {
    return decode_fields<list_request>(body, [](reader& in, list_request& request) -> result<void> {
        TRY(request.after, in.take<chunk_id>());
        TRY(request.count, in.take_be<std::uint32_t>());
        return {};
    });
}

message_body encode_list_response(const std::vector<chunk_id>& chunks) {
    writer out(4 + chunk_id_size * chunks.size());
    put_chunks(out, chunks);
    return body_of(out);
}

result<std::vector<chunk_id>> decode_list_response(const body_view& body) {
    return decode_fields<std::vector<chunk_id>>(body, [](reader& in, std::vector<chunk_id>& chunks) -> result<void> {
        TRY(chunks, take_chunks(in, list_count_max));
        return {};
    });
}

message_body encode_append_request(append_request request) {
    writer out(64 + chunk_id_size * request.entry.chunks.size());
    out.put(request.authority).put_be(static_cast<std::uint8_t>(request.restart ? 1 : 0));
    put_entry(out, request.entry);
    message_body body = body_of(out);
    if (!request.entry.share.empty()) body.payload.push_back(std::move(request.entry.share));
    return body;
}

result<append_request> decode_append_request(const body_view& body) {
    reader in(body.fields);
    cutter payload(body.payload);
    append_request request;
    TRY(request.authority, in.take<ballot>());
    TRY(const auto restart, in.take_be<std::uint8_t>());
    if (restart > 1) return fail(errc::bad_format, "a flag is neither 0 nor 1");
    request.restart = restart == 1;
    TRY(request.entry, take_entry(in, payload));
    TRY_VOID(in.done());
    TRY_VOID(payload.done());
    return request;
}

message_body encode_read_journal_request(const read_journal_request& request) {
    writer out;
    out.put_be(request.from).put_be(request.size_max);
    return body_of(out);
}

result<read_journal_request> decode_read_journal_request(const body_view& body) {
    return decode_fields<read_journal_request>(body, [](reader& in, read_journal_request& request) -> result<void> {
        TRY(request.from, in.take_be<std::uint64_t>());
        TRY(request.size_max, in.take_be<std::uint32_t>());
        return {};
    });
}

message_body encode_read_journal_response(std::vector<journal_entry> entries, std::size_t size_max) {
    std::size_t count = 0;
    std::size_t fields = 4;
    std::size_t total = 4;
    for (const journal_entry& entry : entries) {
        fields += entry_size_min + chunk_id_size * entry.chunks.size();
        total += entry_size_min + chunk_id_size * entry.chunks.size() + entry.share.size();
        if (count != 0 && (total > size_max || fields > message_fields_size_max)) break;
        ++count;
    }
    entries.resize(count);
    writer out;
    out.put_be(static_cast<std::uint32_t>(count));
    message_body body;
    for (journal_entry& entry : entries) {
        put_entry(out, entry);
        if (!entry.share.empty()) body.payload.push_back(std::move(entry.share));
    }
    body.fields = out.take();
    return body;
}

result<std::vector<journal_entry>> decode_read_journal_response(const body_view& body) {
    reader in(body.fields);
    cutter payload(body.payload);
    TRY(const auto count, in.take_count(entry_size_min, message_fields_size_max / entry_size_min));
    std::vector<journal_entry> entries;
    entries.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        TRY(auto entry, take_entry(in, payload));
        entries.push_back(std::move(entry));
    }
    TRY_VOID(in.done());
    TRY_VOID(payload.done());
    return entries;
}

message_body encode_cut_journal_request(const cut_journal_request& request) {
    writer out;
    out.put(request.authority).put_be(request.first);
    return body_of(out);
}

result<cut_journal_request> decode_cut_journal_request(const body_view& body) {
    return decode_fields<cut_journal_request>(body, [](reader& in, cut_journal_request& request) -> result<void> {
        TRY(request.authority, in.take<ballot>());
        TRY(request.first, in.take_be<std::uint64_t>());
        return {};
    });
}

message_body encode_promise_request(const ballot& b) {
    writer out;
    out.put(b);
    return body_of(out);
}

result<ballot> decode_promise_request(const body_view& body) {
    return decode_fields<ballot>(body, [](reader& in, ballot& b) -> result<void> {
        TRY(b, in.take<ballot>());
        return {};
    });
}

message_body encode_heartbeat_request(const heartbeat_request& request) {
    writer out;
    out.put(request.authority);
    put_identity(out, request.writer);
    return body_of(out);
}

result<heartbeat_request> decode_heartbeat_request(const body_view& body) {
    return decode_fields<heartbeat_request>(body, [](reader& in, heartbeat_request& request) -> result<void> {
        TRY(request.authority, in.take<ballot>());
        TRY(request.writer, take_identity(in));
        return {};
    });
}

message_body encode_pin_request(const pin_request& request) {
    writer out(8 + chunk_id_size * request.chunks.size());
    put_chunks(out, request.chunks);
    out.put_be(request.ttl_ms);
    return body_of(out);
}

result<pin_request> decode_pin_request(const body_view& body) {
    return decode_fields<pin_request>(body, [](reader& in, pin_request& request) -> result<void> {
        TRY(request.chunks, take_chunks(in, pin_count_max));
        TRY(request.ttl_ms, in.take_be<std::uint32_t>());
        return {};
    });
}

}  // namespace warifu
