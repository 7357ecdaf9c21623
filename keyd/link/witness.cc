#include "keyd/link/witness.h"

#include <algorithm>
#include <fcntl.h>

#include "fs/base/codec.h"
#include "fs/base/crc32c.h"
#include "keyd/pool/files.h"

namespace warifu {
namespace {

constexpr std::string_view witness_magic = "WARIWITN";
constexpr std::uint16_t witness_version = 1;
constexpr std::size_t entry_size = 16 + 8 + 8 + 8;
constexpr std::size_t overhead = 8 + 2 + 2 + 4;

result<std::vector<witnessed_ledger>> read_file(const std::string& path) {
    const auto fd = open_file(path, O_RDONLY | O_NOFOLLOW);
    if (!fd && fd.error().code == errc::not_found) return std::vector<witnessed_ledger>{};
    if (!fd) return fail(fd.error());
    TRY(const auto size, file_size(fd->get(), path));
    byte_vector bytes(std::min<std::uint64_t>(size, overhead + witnessed_ledgers_max * entry_size + 1));
    TRY_VOID(read_at(fd->get(), 0, bytes, path));
    return decode_witness(bytes);
}

}  // namespace

byte_vector encode_witness(const std::vector<witnessed_ledger>& ledgers) {
    writer out(overhead + ledgers.size() * entry_size);
    out.put_bytes(as_bytes_view(witness_magic))
        .put_be(witness_version)
        .put_be(static_cast<std::uint16_t>(ledgers.size()));
    for (const auto& one : ledgers) out.put(one.id).put_be(one.run).put_be(one.before).put_be(one.sequence);
    out.put_be(crc32c(out.view()));
    return out.take();
}

result<std::vector<witnessed_ledger>> decode_witness(bytes_view bytes) {
    if (bytes.size() < overhead) return fail(errc::bad_format, "too short for a witness's file");
    reader in(bytes);
    TRY(const auto found, in.take_bytes(witness_magic.size()));
    if (as_text(found) != witness_magic) return fail(errc::bad_format, "not a witness's file");
    TRY(const auto version, in.take_be<std::uint16_t>());
    if (version != witness_version) return fail(errc::bad_version, "a witness's file of another version");
    TRY(const auto crc, reader(bytes.last(4)).take_be<std::uint32_t>());
    if (crc != crc32c(bytes.first(bytes.size() - 4))) return fail(errc::bad_checksum, "a witness's file is damaged");
    TRY(const auto count, in.take_be<std::uint16_t>());
    if (count > witnessed_ledgers_max || bytes.size() != overhead + count * entry_size)
        return fail(errc::bad_format, "a witness's file has another size than it says");
    std::vector<witnessed_ledger> out(count);
    for (auto& one : out) {
        TRY(one.id, in.take<ledger_id>());
        TRY(one.run, in.take_be<std::uint64_t>());
        TRY(one.before, in.take_be<std::uint64_t>());
        TRY(one.sequence, in.take_be<std::uint64_t>());
    }
    return out;
}

link_witness link_witness::open(std::string file) {
    link_witness out;
    out.file_ = std::move(file);
    auto found = read_file(out.file_);
    if (found)
        out.ledgers_ = std::move(*found);
    else
        out.last_error_ = out.file_ + ": " + found.error().message();
    return out;
}

result<void> link_witness::heard(const ledger_mark& mark, deadline now) {
    if (mark.id == ledger_id{}) return {};
    auto found = std::ranges::find(ledgers_, mark.id, &witnessed_ledger::id);
    const bool is_current = found != ledgers_.end() && found + 1 == ledgers_.end() && found->run == mark.run;
    if (is_current && mark.sequence <= found->sequence) return {};
    witnessed_ledger next = found == ledgers_.end() ? witnessed_ledger{mark.id, mark.run, 0, 0} : *found;
    if (next.run != mark.run) next.before = std::max(next.before, next.sequence);
    next.run = mark.run;
    next.sequence = std::max(next.sequence, mark.sequence);
    if (found != ledgers_.end()) ledgers_.erase(found);
    if (ledgers_.size() >= witnessed_ledgers_max) ledgers_.erase(ledgers_.begin());
    ledgers_.push_back(next);
    if (is_current && now - written_ < std::chrono::milliseconds(witness_interval_ms)) return {};
    written_ = now;
    auto saved = replace_file(file_, encode_witness(ledgers_));
    last_error_ = saved ? std::string() : saved.error().message();
    return saved;
}

std::uint64_t link_witness::before(const ledger_id& id) const {
    const auto found = std::ranges::find(ledgers_, id, &witnessed_ledger::id);
    return found == ledgers_.end() ? 0 : found->before;
}

}  // namespace warifu
