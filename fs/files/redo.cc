// What a daemon that crashes leaves to the next one: operations are kept in the redo log, and done again from it:
// file_system_impl.h. The fields of a redo_operation and its payload (fs/base/codec.h) are, by kind:
//
// | kind | number | a | b | flags | payload |
// |---|---|---|---|---|---|
// | create | the new inode | parent | device | umask | mode, uid, gid, name, symlink's target |
// | link, unlink, remove_directory | the inode | parent | | | name |
// | rename | the inode | old parent | new parent | rename_mode | old name, new name |
// | set_attributes | the inode | | | redo_data_only | mask, then the fields that it names |
// | set_attribute | the inode | | | attribute_mode | name, value |
// | remove_attribute | the inode | | | | name |
// | write | the inode | offset | size | redo_appends | the bytes |
// | allocate | the inode | offset | size | fallocate's mode | |
// | copy_range | the target | the source | size copied | | source offset, target offset |

#include <sys/stat.h>
#include <thread>

#include "fs/base/assert.h"
#include "fs/base/codec.h"
#include "fs/files/file_system_impl.h"

namespace warifu {
namespace {

constexpr std::uint32_t replay_wait_ms = 60'000;  // for room in the budget

/// Set while this thread does something again.
struct replayed {
    redo_log::position at = 0;
    time_stamp time;
};
thread_local std::optional<replayed> replaying;

enum attribute_bit : std::uint32_t {
    has_mode = 1,
    has_uid = 2,
    has_gid = 4,
    has_size = 8,
    has_atime = 16,
    has_mtime = 32,
    has_ctime = 64
};

std::string text_of(bytes_view bytes) {
    return std::string(as_text(bytes));
}

void put_time(writer& out, const std::optional<time_stamp>& time) {
    if (time) out.put_be(static_cast<std::uint64_t>(time->seconds)).put_be(time->nanoseconds);
}

result<std::optional<time_stamp>> take_time(reader& in, bool there) {
    if (!there) return std::optional<time_stamp>();
    TRY(const auto seconds, in.take_be<std::uint64_t>());
    TRY(const auto nanoseconds, in.take_be<std::uint32_t>());
    return std::optional(time_stamp{static_cast<std::int64_t>(seconds), nanoseconds});
}

template <std::unsigned_integral T>
result<std::optional<T>> take_if(reader& in, bool there) {
    if (!there) return std::optional<T>();
    TRY(const auto value, in.take_be<T>());
    return std::optional<T>(value);
}

struct two_texts {
    std::string first, second;
};
result<two_texts> take_texts(bytes_view payload) {
    reader in(payload);
    TRY(const auto first, in.take_sized(payload.size()));
    TRY(const auto second, in.take_sized(payload.size()));
    return two_texts{text_of(first), text_of(second)};
}

}  // namespace

time_stamp operation_time() {
    return replaying ? replaying->time : time_stamp::now();
}

byte_vector file_system_impl::encode(const attribute_change& change) {
    const auto bit = [](bool there, attribute_bit which) { return there ? static_cast<std::uint32_t>(which) : 0U; };
    writer out;
    out.put_be(bit(change.mode.has_value(), has_mode) | bit(change.uid.has_value(), has_uid) |
               bit(change.gid.has_value(), has_gid) | bit(change.size.has_value(), has_size) |
               bit(change.access_time.has_value(), has_atime) | bit(change.modify_time.has_value(), has_mtime) |
               bit(change.change_time.has_value(), has_ctime));
    if (change.mode) out.put_be(*change.mode);
    if (change.uid) out.put_be(*change.uid);
    if (change.gid) out.put_be(*change.gid);
    if (change.size) out.put_be(*change.size);
    put_time(out, change.access_time);
    put_time(out, change.modify_time);
    put_time(out, change.change_time);
    return out.take();
}

void file_system_impl::keep(redo_operation operation, const byte_vector& payload) {
    if (!redo_) return;
    operation.sequence = names().sequence();
    if (replaying) return redo_->set_sequence(replaying->at, operation.sequence);
    operation.payload = payload;
    redo_->append(operation);
}

bool file_system_impl::has_redo_room(std::size_t size) {
    if (!redo_ || replaying || redo_->has_room(size)) return true;
    budget_.hold(true);
    if (redo_->has_room(size)) {  // a commit made room meanwhile, and does not come again
        budget_.hold(false);
        return true;
    }
    committer_.hurry();
    return false;
}

void file_system_impl::keep_write(inode_state& state, std::uint64_t offset, bytes_view bytes, bool append) {
    if (!redo_) return;
    if (replaying) {
        redo_->set_sequence(replaying->at, redo_unsealed);
        state.unsealed.push_back(replaying->at);
        return;
    }
    redo_operation done;
    done.kind = redo_kind::write;
    done.number = state.number;
    done.a = offset;
    done.b = bytes.size();
    done.time = state.attributes.modify_time;
    done.flags = append ? redo_appends : 0;
    done.payload = bytes;
    done.sequence = redo_unsealed;
    const auto at = redo_->append(done);
    WARIFU_ASSERT(at.has_value());  // has_redo_room() leaves redo_margin to names and to who asked at the same time
    state.unsealed.push_back(*at);
}

void file_system_impl::keep_sealed(inode_state& state) {
    if (!redo_ || !state.dirty.empty() || state.unsealed.empty()) return;
    const std::uint64_t sequence = state.removed && state.open_count == 0 ? redo_void : names().sequence();
    for (const auto at : state.unsealed) redo_->set_sequence(at, sequence);
    state.unsealed.clear();
}

result<void> file_system_impl::replay() {
    if (!redo_) return {};
    TRY_VOID(redo_->prepare(names().opened_sequence()));
    const auto again = [this](redo_log::position at, const redo_operation& operation) -> result<void> {
        replaying = replayed{at, operation.time};
        const auto outcome = redo(operation);
        replaying.reset();
        if (outcome) return {};
        // Its inode went for good afterwards, and that was committed: a write to a file that nobody can open any more.
        if (outcome.error().code == errc::not_found && operation.number != 0 && !names().get(operation.number)) {
            redo_->set_sequence(at, redo_void);
            return {};
        }
        return fail(outcome.error().code,
                    "what was done before the crash cannot be done again: " + outcome.error().message());
    };
    const auto outcome = redo_->for_each_to_do(again);
    for (const auto& [number, handle] : redo_handles_) release(handle);
    redo_handles_.clear();
    return outcome;
}

result<void> file_system_impl::redo(const redo_operation& operation) {
    switch (operation.kind) {
        case redo_kind::create:
            return redo_create(operation);
        case redo_kind::set_attributes:
            return redo_attributes(operation);
        case redo_kind::write:
            return redo_write(operation);
        case redo_kind::allocate:
            return redo_allocate(operation);
        case redo_kind::copy_range:
            return redo_copy(operation);
        default:
            break;
    }
    TRY(const auto texts, take_texts(operation.payload));
    switch (operation.kind) {
        case redo_kind::link: {
            TRY_VOID(link(operation.number, operation.a, texts.first));
            return {};
        }
        case redo_kind::unlink:
            return unlink(operation.a, texts.first);
        case redo_kind::remove_directory:
            return remove_directory(operation.a, texts.first);
        case redo_kind::rename:
            return rename(operation.a, texts.first, operation.b, texts.second,
                          static_cast<rename_mode>(operation.flags));
        case redo_kind::set_attribute:
            return set_attribute(operation.number, texts.first, texts.second,
                                 static_cast<name_space::attribute_mode>(operation.flags));
        case redo_kind::remove_attribute:
            return remove_attribute(operation.number, texts.first);
        default:
            return fail(errc::bad_format, "an unknown operation in the redo log");
    }
}

result<void> file_system_impl::redo_create(const redo_operation& operation) {
    reader in(operation.payload);
    new_inode fresh;
    TRY(fresh.mode, in.take_be<std::uint32_t>());
    TRY(fresh.uid, in.take_be<std::uint32_t>());
    TRY(fresh.gid, in.take_be<std::uint32_t>());
    TRY(const auto name, in.take_sized(name_size_max));
    TRY(const auto target, in.take_sized(symlink_size_max));
    fresh.device = operation.b;
    fresh.symlink_target = text_of(target);
    fresh.now = operation.time;
    fresh.number = operation.number;
    TRY_VOID(create(operation.a, as_text(name), fresh, operation.flags));
    return {};
}

result<void> file_system_impl::redo_attributes(const redo_operation& operation) {
    reader in(operation.payload);
    TRY(const auto present, in.take_be<std::uint32_t>());
    attribute_change change;
    TRY(change.mode, take_if<std::uint32_t>(in, (present & has_mode) != 0));
    TRY(change.uid, take_if<std::uint32_t>(in, (present & has_uid) != 0));
    TRY(change.gid, take_if<std::uint32_t>(in, (present & has_gid) != 0));
    TRY(change.size, take_if<std::uint64_t>(in, (present & has_size) != 0));
    TRY(change.access_time, take_time(in, (present & has_atime) != 0));
    TRY(change.modify_time, take_time(in, (present & has_mtime) != 0));
    TRY(change.change_time, take_time(in, (present & has_ctime) != 0));
    if ((operation.flags & redo_data_only) != 0) {
        change.mode.reset();
        change.uid.reset();
        change.gid.reset();
    }
    TRY_VOID(set_attributes(operation.number, change));
    return {};
}

/// Stays open until replay() is over, so that the bytes of a file are sealed once.
result<file_handle> file_system_impl::redo_handle(inode_number number) {
    if (const auto open_one = redo_handles_.find(number); open_one != redo_handles_.end()) return open_one->second;
    TRY(const auto handle, open(number, true));
    redo_handles_.emplace(number, handle);
    return handle;
}

result<void> file_system_impl::redo_write(const redo_operation& operation) {
    TRY(const auto handle, redo_handle(operation.number));
    const deadline until = deadline_in_ms(replay_wait_ms);
    for (;;) {
        TRY(const auto taken, write(handle, operation.a, operation.payload, false));
        if (taken.size == operation.payload.size()) return {};
        if (steady_clock::now() > until) return fail(errc::timed_out, "no room for what was not durable");
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

result<void> file_system_impl::redo_allocate(const redo_operation& operation) {
    TRY(const auto handle, redo_handle(operation.number));
    return allocate(handle, static_cast<int>(operation.flags), operation.a, operation.b);
}

result<void> file_system_impl::redo_copy(const redo_operation& operation) {
    reader in(operation.payload);
    TRY(const auto from_offset, in.take_be<std::uint64_t>());
    TRY(const auto to_offset, in.take_be<std::uint64_t>());
    TRY(const auto from, redo_handle(operation.a));
    TRY(const auto to, redo_handle(operation.number));
    TRY(const auto copied, copy_range(from, from_offset, to, to_offset, operation.b));
    if (copied != operation.b) return fail(errc::conflict, "a copy came out shorter");
    return {};
}

}  // namespace warifu
