#include "keyd/link/control_store.h"

#include <algorithm>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "fs/base/assert.h"
#include "fs/base/codec.h"
#include "fs/base/crc32c.h"
#include "fs/base/limits.h"
#include "keyd/pool/files.h"
#include "keyd/pool/site_name.h"

namespace warifu {
namespace {

constexpr std::string_view enrolment_magic = "WARIENRL";
constexpr std::uint16_t enrolment_version = 1;
constexpr std::size_t enrolment_size = 8 + 2 + 1 + 1 + 16 + 2 * site_name_field_size +
                                       (control_hello_slots_target + control_work_slots_target) * control_slot_size + 4;
constexpr std::size_t control_file_size_max =
    512 + control_enrolments_max * 16 + control_slots_max * (8 + control_slot_size);

/// The whole file into wiped memory.
struct secret_bytes {
    byte_vector bytes;
    explicit secret_bytes(byte_vector b) : bytes(std::move(b)) {}
    secret_bytes(secret_bytes&&) = default;
    secret_bytes& operator=(secret_bytes&&) = delete;
    ~secret_bytes() { wipe(bytes); }
};

result<secret_bytes> read_file(const std::string& path, std::size_t size_max) {
    TRY(const unique_fd fd, open_file(path, O_RDONLY | O_NOFOLLOW));
    TRY(const auto size, file_size(fd.get(), path));
    if (size > size_max) return fail(errc::too_large, path + ": over the limit");
    secret_bytes out(byte_vector(static_cast<std::size_t>(size)));
    TRY_VOID(read_at(fd.get(), 0, out.bytes, path));
    return out;
}

result<void> erase_file(const std::string& path) {
    TRY(const unique_fd fd, open_file(path, O_RDWR | O_NOFOLLOW));
    TRY(const auto size, file_size(fd.get(), path));
    TRY_VOID(erase_range(fd.get(), 0, size, path));
    return remove_file(path);
}

bool is_there(const std::string& path) {
    struct stat status{};
    return ::lstat(path.c_str(), &status) == 0;
}

error with_file(const std::string& path, const error& e) {
    return error(e.code, path + ": " + e.text);
}

}  // namespace

enrolment make_enrolment(const std::string& site, const std::string& other) {
    WARIFU_ASSERT(site != other);
    enrolment e;
    e.id = random_uuid<control_id>();
    e.caller = std::min(site, other);
    e.listener = std::max(site, other);
    e.end = end_of(site, other);
    e.hello.resize(control_hello_slots_target * control_slot_size);
    e.work.resize(control_work_slots_target * control_slot_size);
    fill_kernel_random(e.hello);
    fill_kernel_random(e.work);
    return e;
}

byte_vector encode_enrolment(const enrolment& e) {
    writer out(enrolment_size);
    out.put_bytes(as_bytes_view(enrolment_magic)).put_be(enrolment_version);
    out.put_be(static_cast<std::uint8_t>(e.end)).put_be<std::uint8_t>(0).put(e.id);
    put_site_name(out, e.caller);
    put_site_name(out, e.listener);
    out.put_bytes(e.hello).put_bytes(e.work);
    out.put_be(crc32c(out.view()));
    return out.take();
}

result<enrolment> decode_enrolment(bytes_view bytes) {
    if (bytes.size() != enrolment_size) return fail(errc::bad_format, "not an enrolment: it has another size");
    reader in(bytes);
    TRY(const auto magic, in.take_bytes(enrolment_magic.size()));
    if (as_text(magic) != enrolment_magic) return fail(errc::bad_format, "not an enrolment");
    TRY(const auto crc, reader(bytes.last(4)).take_be<std::uint32_t>());
    if (crc != crc32c(bytes.first(bytes.size() - 4))) return fail(errc::bad_checksum, "the enrolment is damaged");
    TRY(const auto version, in.take_be<std::uint16_t>());
    if (version != enrolment_version) return fail(errc::bad_version, "unknown version of an enrolment");
    TRY(const auto end, in.take_be<std::uint8_t>());
    TRY(const auto reserved, in.take_be<std::uint8_t>());
    if (end > 1 || reserved != 0) return fail(errc::bad_format, "reserved bytes are set");
    enrolment e;
    e.end = static_cast<link_end>(end);
    TRY_VOID(in.take(e.id));
    TRY(e.caller, take_site_name(in));
    TRY(e.listener, take_site_name(in));
    if (e.caller >= e.listener || e.id.is_zero()) return fail(errc::bad_format, "the ends are not in order");
    TRY(const auto hello, in.take_bytes(control_hello_slots_target * control_slot_size));
    TRY(const auto work, in.take_bytes(control_work_slots_target * control_slot_size));
    e.hello.assign(hello.begin(), hello.end());
    e.work.assign(work.begin(), work.end());
    return e;
}

result<std::vector<std::string>> write_enrolments(const std::string& directory, const std::string& site,
                                                  const std::string& other) {
    enrolment e = make_enrolment(site, other);
    std::vector<std::string> paths;
    for (const auto end : {link_end::caller, link_end::listener}) {
        e.end = end;
        const std::string folder = directory + "/" + e.own();
        paths.push_back(fmt::format("{}/{}-{}{}", folder, e.own(), e.peer(), enrolment_suffix));
        if (is_there(paths.back())) return fail(errc::exists, paths.back() + ": is there already");
        TRY_VOID(make_directory(folder));
    }
    for (const auto end : {link_end::caller, link_end::listener}) {
        e.end = end;
        const secret_bytes bytes(encode_enrolment(e));
        TRY_VOID(replace_file(paths[static_cast<std::size_t>(end)], bytes.bytes));
    }
    return paths;
}

result<std::string> accept_enrolment(const std::string& directory, const std::string& own,
                                     const std::vector<std::string>& peers, const std::string& file) {
    TRY(const auto bytes, read_file(file, enrolment_size));
    const auto e = decode_enrolment(bytes.bytes);
    if (!e) return fail(with_file(file, e.error()));
    if (e->own() != own && e->peer() == own)
        return fail(errc::denied, fmt::format("{}: is the file of the other end, {}; this is {}", file, e->own(), own));
    if (e->own() != own)
        return fail(errc::denied,
                    fmt::format("{}: is for the link {} - {}, not for {}", file, e->caller, e->listener, own));
    if (std::ranges::count(peers, e->peer()) == 0)
        return fail(errc::denied, fmt::format("{}: there is no link to {}", file, e->peer()));
    TRY_VOID(make_directory(directory));
    control_store store(directory, own, e->peer());
    if (is_there(store.enrolment_path()))
        return fail(errc::exists, store.enrolment_path() + ": another enrolment waits to be taken");
    const auto opened = store.open();
    if (!opened && opened.error().code != errc::not_found) return fail(opened.error());
    if (std::ranges::count(store.state().enrolments, e->id) != 0)
        return fail(errc::exists, file + ": was imported before; an enrolment serves once");
    TRY_VOID(replace_file(store.enrolment_path(), bytes.bytes));
    TRY_VOID(erase_file(file));
    return e->peer();
}

result<void> control_store::open() {
    broken_ = false;
    enrolled_ = false;
    if (is_there(path())) {
        TRY(const auto bytes, read_file(path(), control_file_size_max));
        auto state = decode_control_state(bytes.bytes);
        if (!state) return fail(with_file(path(), state.error()));
        if (state->own != own_ || state->peer != peer_)
            return fail(errc::denied, fmt::format("{}: belongs to the link {} - {}", path(), state->own, state->peer));
        state_ = std::move(*state);
        enrolled_ = true;
        return {};
    }
    return fail(errc::not_found, fmt::format("the link to {} is not enrolled (warifu link enrol)", peer_));
}

result<bool> control_store::take_enrolment() {
    const std::string waiting = enrolment_path();
    if (!is_there(waiting)) return false;
    TRY(const auto bytes, read_file(waiting, enrolment_size));
    auto e = decode_enrolment(bytes.bytes);
    const bool known = e && std::ranges::count(state_.enrolments, e->id) != 0;
    if (!e || e->own() != own_ || e->peer() != peer_ || known || state_.enrolments.size() >= control_enrolments_max) {
        // A crash after the last import may have left its file behind: that one is just removed.
        const bool leftover = e && known && e->id == state_.id;
        if (leftover)
            TRY_VOID(erase_file(waiting));
        else
            TRY_VOID(rename_file(waiting, waiting + ".refused"));
        if (leftover) return false;
        if (!e) return fail(with_file(waiting, e.error()));
        return fail(known ? errc::exists : errc::denied, waiting + ": refused");
    }
    control_state fresh;
    fresh.id = e->id;
    fresh.own = own_;
    fresh.peer = peer_;
    fresh.enrolments = state_.enrolments;
    fresh.enrolments.push_back(e->id);
    for (std::size_t i = 0; i < slot_shelf_count; ++i) fresh.next[i] = first_slot(static_cast<slot_shelf>(i));
    TRY_VOID(fresh.add(link_end::caller, true, first_slot(slot_shelf::hello_caller), e->hello));
    TRY_VOID(fresh.add(link_end::caller, false, first_slot(slot_shelf::work_caller), e->work));
    state_ = std::move(fresh);
    TRY_VOID(save());
    enrolled_ = true;
    TRY_VOID(erase_file(waiting));
    return true;
}

result<void> control_store::usable() const {
    if (broken_) return fail(errc::io_error, path() + ": could not be written; it is read again first");
    if (!enrolled_) return fail(errc::not_found, fmt::format("the link to {} is not enrolled", peer_));
    return {};
}

result<control_slot> control_store::spend(std::uint64_t slot) {
    TRY_VOID(usable());
    auto taken = state_.take(slot);
    if (!taken) return fail(errc::not_found, "the control slot is spent");
    TRY_VOID(save());
    return std::move(*taken);
}

result<void> control_store::join(const link_protocol::facts& own_told, const link_protocol::facts& peer_told) {
    TRY_VOID(usable());
    const control_state before = state_;
    state_.join(own_told, peer_told);
    return before == state_ ? result<void>{} : save();
}

result<void> control_store::add(link_end master, const std::vector<addition>& additions) {
    TRY_VOID(usable());
    bool any = false;
    control_state next = state_;
    for (const auto& one : additions) {
        TRY_VOID(next.add(master, one.hello, one.first, one.bytes));
        any = any || !one.bytes.empty();
    }
    if (!any) return {};
    state_ = std::move(next);
    return save();
}

result<void> control_store::save() {
    const secret_bytes bytes(encode_control_state(state_));
    auto saved = write_file(bytes.bytes);
    if (!saved) broken_ = true;
    return saved;
}

result<void> control_store::write_file(bytes_view bytes) {
    if (fault && fault(save_step::before)) return fail(errc::io_error, "fault");
    TRY_VOID(write_beside(path(), bytes));
    if (fault && fault(save_step::written)) return fail(errc::io_error, "fault");
    unique_fd old;
    if (is_there(path())) {
        TRY(old, open_file(path(), O_RDWR | O_NOFOLLOW));
    }
    TRY_VOID(put_in_place(path()));
    if (fault && fault(save_step::renamed)) return fail(errc::io_error, "fault");
    if (old.is_open()) {
        TRY(const auto size, file_size(old.get(), path()));
        TRY_VOID(erase_range(old.get(), 0, size, path()));
    }
    return {};
}

}  // namespace warifu
