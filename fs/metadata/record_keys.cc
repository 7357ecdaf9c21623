#include "fs/base/assert.h"
#include "fs/metadata/packing.h"
#include "fs/metadata/records.h"

namespace warifu {
namespace {

writer start(record_kind kind) {
    writer out(32);
    out.put_be(static_cast<std::uint8_t>(kind));
    return out;
}

std::string key_of(record_kind kind) {
    return text_of(start(kind));
}

std::string key_of(record_kind kind, std::uint64_t number) {
    writer out = start(kind);
    put_ordered(out, number);
    return text_of(out);
}

std::string key_of(record_kind kind, std::uint64_t first, std::uint64_t second) {
    writer out = start(kind);
    put_ordered(out, first);
    put_ordered(out, second);
    return text_of(out);
}

/// A reader behind the kind's byte. REQUIRES: the caller's cursor gave a key of this kind.
reader after_kind(std::string_view key) {
    WARIFU_ASSERT(!key.empty());
    return reader(as_bytes_view(key.substr(1)));
}

}  // namespace

std::string header_key() {
    return key_of(record_kind::header);
}
std::string counters_key() {
    return key_of(record_kind::counters);
}
std::string epoch_prefix() {
    return key_of(record_kind::epoch);
}
std::string epoch_key(epoch_number number) {
    return key_of(record_kind::epoch, number);
}
std::string inode_key(inode_number number) {
    return key_of(record_kind::inode, number);
}
std::string entry_prefix(inode_number directory) {
    return key_of(record_kind::entry, directory);
}
std::string entry_key(inode_number directory, std::uint64_t cookie) {
    writer out = start(record_kind::entry);
    put_ordered(out, directory);
    out.put_be(cookie);
    return text_of(out);
}
std::string symlink_key(inode_number number) {
    return key_of(record_kind::symlink, number);
}
std::string attribute_prefix(inode_number number) {
    return key_of(record_kind::attribute, number);
}
std::string attribute_key(inode_number number, std::string_view name) {
    return attribute_prefix(number).append(name);
}
std::string extent_prefix(inode_number number) {
    return key_of(record_kind::extent, number);
}
std::string extent_key(inode_number number, std::uint64_t end) {
    return key_of(record_kind::extent, number, end);
}
std::string piece_prefix() {
    return key_of(record_kind::piece);
}
std::string piece_prefix(epoch_number epoch) {
    return key_of(record_kind::piece, epoch);
}
std::string piece_prefix(const chunk_key& chunk) {
    return key_of(record_kind::piece, chunk.epoch, chunk.sequence);
}
std::string piece_key(const chunk_key& chunk, std::uint16_t piece) {
    writer out = start(record_kind::piece);
    put_ordered(out, chunk.epoch);
    put_ordered(out, chunk.sequence);
    out.put_be(piece);
    return text_of(out);
}
std::string freed_prefix() {
    return key_of(record_kind::freed);
}
std::string freed_key(std::uint64_t ticket) {
    return key_of(record_kind::freed, ticket);
}
std::string orphan_prefix() {
    return key_of(record_kind::orphan);
}
std::string orphan_key(inode_number number) {
    return key_of(record_kind::orphan, number);
}

std::string prefix_end(std::string prefix) {
    while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
    WARIFU_ASSERT(!prefix.empty());  // kinds are letters
    prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
    return prefix;
}

result<epoch_number> decode_epoch_key(std::string_view key) {
    reader in = after_kind(key);
    TRY(const auto number, take_ordered(in));
    TRY_VOID(in.done());
    if (number == 0 || number > ~epoch_number{0}) return fail(errc::bad_format, "an epoch's number is over its range");
    return static_cast<epoch_number>(number);
}

result<std::uint64_t> decode_entry_cookie(std::string_view key) {
    reader in = after_kind(key);
    TRY_VOID(take_ordered(in));
    TRY(const auto cookie, in.take_be<std::uint64_t>());
    TRY_VOID(in.done());
    return cookie;
}

result<std::uint64_t> decode_freed_ticket(std::string_view key) {
    reader in = after_kind(key);
    TRY(const auto ticket, take_ordered(in));
    TRY_VOID(in.done());
    return ticket;
}

result<inode_number> decode_orphan_key(std::string_view key) {
    return decode_freed_ticket(key);  // one ordered number as well
}

result<stored_piece> decode_piece_key(std::string_view key) {
    reader in = after_kind(key);
    TRY(const auto epoch, take_ordered(in));
    if (epoch > ~epoch_number{0}) return fail(errc::bad_format, "an epoch's number is over its range");
    TRY(const auto sequence, take_ordered(in));
    TRY(const auto piece, in.take_be<std::uint16_t>());
    TRY_VOID(in.done());
    return stored_piece{{static_cast<epoch_number>(epoch), sequence}, piece};
}

}  // namespace warifu
