#include "fs/mount/session.h"

#include <sys/stat.h>

#include "fs/async/wait.h"
#include "fs/mount/caller.h"

namespace warifu {
namespace {

timespec to_timespec(const time_stamp& from) {
    timespec to{};
    to.tv_sec = from.seconds;
    to.tv_nsec = from.nanoseconds;
    return to;
}

constexpr auto caller_look_interval = std::chrono::milliseconds(200);
constexpr unsigned preferred_io_size = 256U << 10U;  // st_blksize: what samtools and cp read and write at once

}  // namespace

std::shared_ptr<async_request> async_request::make(mount_session& session, fuse_req_t request, const char* what,
                                                   reply if_interrupted) {
    auto made = std::make_shared<async_request>(session, request, what, std::move(if_interrupted));
    ++session.waiting;
    // libfuse calls on_interrupt under the request's lock, which answer() takes before the reply: so `made` lives
    // meanwhile.
    fuse_req_interrupt_func(request, &async_request::on_interrupt, made.get());
    return made;
}

void async_request::on_interrupt(fuse_req_t, void* self) {
    auto& mine = *static_cast<async_request*>(self);
    if (is_dying(mine.caller_)) mine.interrupt();
    asio::co_spawn(mine.session_.core, watch_caller(mine.shared_from_this()), asio::detached);
}

/// The kernel tells of the first signal only, and then waits for the reply whatever comes.
awaitable<void> async_request::watch_caller(std::shared_ptr<async_request> self) {
    while (!self->answered_) {
        co_await sleep_for(caller_look_interval);
        if (!self->answered_ && is_dying(self->caller_)) self->interrupt();
    }
}

void async_request::interrupt() {
    stage expected = stage::waiting;
    if (stage_.compare_exchange_strong(expected, stage::interrupted)) return give_up();
    expected = stage::claimed;
    if (stage_.compare_exchange_strong(expected, stage::claimed_and_interrupted)) return;
    expected = stage::waiting;  // unclaimed in between
    if (stage_.compare_exchange_strong(expected, stage::interrupted)) give_up();
}

void async_request::give_up() {
    interrupted_->store(true);
    asio::post(session_.core, [request = shared_from_this()] { request->answer(request->if_interrupted_); });
    session_.files.wake_waiting();
}

bool async_request::claim() {
    stage expected = stage::waiting;
    return stage_.compare_exchange_strong(expected, stage::claimed);
}

bool async_request::unclaim() {
    stage expected = stage::claimed;
    if (stage_.compare_exchange_strong(expected, stage::waiting)) return true;
    stage_ = stage::interrupted;
    give_up();
    return false;
}

void async_request::answer(const reply& how) {
    if (answered_) return;
    answered_ = true;
    fuse_req_interrupt_func(request_, nullptr, nullptr);
    how(request_);
    seen_.end();
    --session_.waiting;
}

void async_request::answer_error(const error& why, bool reading) {
    const int code = to_errno(why, reading);
    answer([code](fuse_req_t request) { fuse_reply_err(request, code); });
}

struct stat to_stat(const mount_session& session, const inode& from) {
    struct stat to{};
    to.st_ino = from.number;
    to.st_mode = from.mode;
    to.st_nlink = from.link_count;
    to.st_uid = session.users.to_local(from.uid);
    to.st_gid = session.groups.to_local(from.gid);
    to.st_rdev = from.device;
    to.st_size = static_cast<off_t>(from.size);
    to.st_blocks = static_cast<blkcnt_t>(divide_up(from.stored_size, 512));
    to.st_blksize = preferred_io_size;
    to.st_atim = to_timespec(from.access_time);
    to.st_mtim = to_timespec(from.modify_time);
    to.st_ctim = to_timespec(from.change_time);
    return to;
}

fuse_entry_param to_entry(const mount_session& session, const inode& from) {
    fuse_entry_param entry{};
    entry.ino = from.number;
    entry.attr = to_stat(session, from);
    entry.attr_timeout = session.cache_seconds;
    entry.entry_timeout = session.cache_seconds;
    return entry;
}

void reply_entry(fuse_req_t request, const inode& found) {
    auto& session = mount_session::of(request);
    const fuse_entry_param entry = to_entry(session, found);
    session.files.remember(found.number, 1);
    if (fuse_reply_entry(request, &entry) != 0) session.files.forget(found.number, 1);
}

file_handle handle_of(mount_session& session, fuse_ino_t number, const fuse_file_info* info) {
    const file_handle handle = info->fh >> 1U;
    // An inode that is gone makes the operation fail by itself: there is no such handle.
    if (session.redo && session.redo->starts() > 1)
        static_cast<void>(session.files.adopt(handle, number, (info->fh & 1U) != 0));
    return handle;
}

const fuse_lowlevel_ops& mount_operations() {
    static const fuse_lowlevel_ops table = [] {
        fuse_lowlevel_ops made{};
        add_name_operations(made);
        add_file_operations(made);
        add_attribute_operations(made);
        return made;
    }();
    return table;
}

}  // namespace warifu
