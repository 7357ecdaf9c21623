// Open files: data, durability, ranges.

#include <algorithm>
#include <sys/uio.h>

#include "fs/base/limits.h"
#include "fs/mount/session.h"

namespace warifu {
namespace {

constexpr std::size_t reply_parts_max = 512;  // of one writev, with room for libfuse's own

void interrupted(fuse_req_t request) {
    fuse_reply_err(request, EINTR);
}

void init(void* userdata, fuse_conn_info* connection) {
    const auto& session = *static_cast<mount_session*>(userdata);
    connection->max_write = fuse_request_size_max;
    connection->max_read = fuse_request_size_max;
    connection->max_readahead = 4 * fuse_request_size_max;
    connection->max_background = fuse_background_max;
    connection->congestion_threshold = fuse_background_max / 4 * 3;
    connection->time_gran = 1;
    const auto want = [connection](unsigned flags, bool on) {
        if (on)
            connection->want |= connection->capable & flags;
        else
            connection->want &= ~flags;
    };
    want(FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_DIO | FUSE_CAP_READDIRPLUS |
             FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK,
         true);
    // The only writer knows of every change; a follower must drop pages when a file changed.
    want(FUSE_CAP_AUTO_INVAL_DATA, session.read_only);
    // Every byte is touched here anyway (splice buys nothing); order and errors of writes are owned by fs/files (no
    // write-back cache); the kernel asks for suid bits to be cleared itself, which it forgets when an open truncates.
    want(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_WRITEBACK_CACHE |
             FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_ATOMIC_O_TRUNC,
         false);
    if (session.on_init) session.on_init();
}

void open(fuse_req_t request, fuse_ino_t number, fuse_file_info* info) {
    auto& session = mount_session::of(request);
    const bool writing = (info->flags & O_ACCMODE) != O_RDONLY;
    const auto handle = session.files.open(number, writing);
    if (!handle) return reply_error(request, handle.error(), !writing);
    info->fh = to_kernel(*handle, writing);
    info->keep_cache = session.read_only ? 0 : 1;
    info->noflush = writing ? 0 : 1;
    if (fuse_reply_open(request, info) != 0) session.files.release(*handle);
}

void release(fuse_req_t request, fuse_ino_t number, fuse_file_info* info) {
    auto& session = mount_session::of(request);
    session.files.release(handle_of(session, number, info));
    fuse_reply_err(request, 0);
}

/// The slices go out as they are; only very many of them are joined first.
void reply_slices(fuse_req_t request, const std::vector<slice>& bytes) {
    if (bytes.size() > reply_parts_max) {
        std::size_t size = 0;
        for (const auto& part : bytes) size += part.size();
        buffer joined(size);
        std::size_t at = 0;
        for (const auto& part : bytes) {
            std::memcpy(joined.data() + at, part.view().data(), part.size());
            at += part.size();
        }
        fuse_reply_buf(request, reinterpret_cast<const char*>(joined.data()), size);
        return;
    }
    std::vector<iovec> parts;
    parts.reserve(bytes.size());
    for (const auto& part : bytes) parts.push_back({const_cast<std::byte*>(part.view().data()), part.size()});
    fuse_reply_iov(request, parts.data(), static_cast<int>(parts.size()));
}

awaitable<void> finish_read(mount_session* session, std::shared_ptr<async_request> request, read_plan plan) {
    const auto bytes = co_await session->files.fetch(std::move(plan));
    if (!bytes) {
        request->answer_error(bytes.error(), true);
        co_return;
    }
    request->answer([&bytes](fuse_req_t raw) { reply_slices(raw, *bytes); });
}

void read(fuse_req_t request, fuse_ino_t number, std::size_t size, off_t offset, fuse_file_info* info) {
    auto& session = mount_session::of(request);
    auto plan = session.files.plan_read(handle_of(session, number, info), static_cast<std::uint64_t>(offset), size);
    if (!plan) return reply_error(request, plan.error(), true);
    if (plan->ready()) {
        std::vector<slice> bytes;
        bytes.reserve(plan->parts.size());
        for (auto& part : plan->parts) bytes.push_back(std::move(part.bytes));
        return reply_slices(request, bytes);
    }
    const auto later = async_request::make(session, request, "read", interrupted);
    asio::co_spawn(session.core, finish_read(&session, later, std::move(*plan)), asio::detached);
}

/// The bytes are accepted; the writer is told when the budget has room again.
awaitable<void> finish_accepted(mount_session* session, std::shared_ptr<async_request> request, std::size_t size) {
    // An error of the wait is not this write's: the file's sticky error tells it at the next call.
    static_cast<void>(co_await session->files.wait_for_room(0, request->interrupted()));
    request->answer([size](fuse_req_t raw) { fuse_reply_write(raw, size); });
}

struct waiting_write {
    file_handle handle;
    std::uint64_t offset;
    bool append;
    bool write_back;  // the kernel's, of a page that a program wrote by mmap: an error would lose the page
    buffer bytes;
    std::uint64_t request = redo_log::working_on();
};

/// Runs on a thread that may take the namespace lock, never on the core thread.
void write_again(mount_session* session, std::shared_ptr<async_request> request, std::shared_ptr<waiting_write> work);

/// The budget is full: the bytes wait in a copy of their own.
awaitable<void> wait_and_write(mount_session* session, std::shared_ptr<async_request> request,
                               std::shared_ptr<waiting_write> work) {
    const std::size_t size = work->bytes.size();
    auto room = co_await session->files.wait_for_room(size, request->interrupted());
    while (!room && room.error().code == errc::no_key && work->write_back)
        room = co_await session->files.wait_for_room(size, request->interrupted());
    if (request->is_answered()) co_return;
    if (!room && session->hands_over) {
        request->answer(fuse_reply_none);
        co_return;
    }
    if (!room) {
        request->answer_error(room.error());
        co_return;
    }
    asio::post(session->retries, [session, request, work] { write_again(session, request, work); });
}

void write_again(mount_session* session, std::shared_ptr<async_request> request, std::shared_ptr<waiting_write> work) {
    if (!request->claim()) return;
    redo_log::work_on(work->request);
    const auto taken = session->files.write(work->handle, work->offset, work->bytes.view(), work->append);
    redo_log::work_on(0);
    if (taken && taken->size == 0) {
        if (!request->unclaim()) return;
        asio::co_spawn(session->core, wait_and_write(session, request, work), asio::detached);
        return;
    }
    asio::post(session->core, [request, work, taken] {
        if (!taken) return request->answer_error(taken.error());
        request->answer([&work](fuse_req_t raw) { fuse_reply_write(raw, work->bytes.size()); });
    });
}

void write(fuse_req_t request, fuse_ino_t number, const char* bytes, std::size_t size, off_t offset,
           fuse_file_info* info) {
    auto& session = mount_session::of(request);
    if (session.done_before()) return static_cast<void>(fuse_reply_write(request, size));
    const file_handle handle = handle_of(session, number, info);
    const bytes_view view(reinterpret_cast<const std::byte*>(bytes), size);
    const auto at = static_cast<std::uint64_t>(offset);
    const bool append = (info->flags & O_APPEND) != 0 && info->writepage == 0;
    const auto taken = session.files.write(handle, at, view, append);
    if (!taken) return reply_error(request, taken.error());
    if (!taken->wait) return static_cast<void>(fuse_reply_write(request, taken->size));
    if (taken->size != 0) {
        const auto later =
            async_request::make(session, request, "write", [size](fuse_req_t raw) { fuse_reply_write(raw, size); });
        asio::co_spawn(session.core, finish_accepted(&session, later, size), asio::detached);
        return;
    }
    const auto later = async_request::make(session, request, "write", interrupted);
    auto work = std::make_shared<waiting_write>();
    work->handle = handle;
    work->offset = at;
    work->append = append;
    work->write_back = info->writepage != 0;
    work->bytes = buffer::copy_of(view);
    asio::co_spawn(session.core, wait_and_write(&session, later, work), asio::detached);
}

awaitable<void> finish_sync(mount_session* session, std::shared_ptr<async_request> request, std::uint64_t ticket) {
    const auto outcome = co_await session->files.finish_sync(ticket);
    if (!outcome) {
        request->answer_error(outcome.error());
        co_return;
    }
    request->answer([](fuse_req_t raw) { fuse_reply_err(raw, 0); });
}

void wait_durable(fuse_req_t request, std::uint64_t ticket) {
    auto& session = mount_session::of(request);
    const auto later = async_request::make(session, request, "sync", interrupted);
    asio::co_spawn(session.core, finish_sync(&session, later, ticket), asio::detached);
}

void flush(fuse_req_t request, fuse_ino_t number, fuse_file_info* info) {
    auto& session = mount_session::of(request);
    auto& files = session.files;
    const file_handle handle = handle_of(session, number, info);
    const auto flushed = files.flush(handle);
    if (!flushed || !files.options().sync_close) return reply_result(request, flushed);
    const auto ticket = files.begin_sync(handle);
    if (!ticket) return reply_error(request, ticket.error());
    wait_durable(request, *ticket);
}

/// fdatasync is fsync: a file's size and extents are in the same record as its times.
void fsync(fuse_req_t request, fuse_ino_t number, int, fuse_file_info* info) {
    auto& session = mount_session::of(request);
    const auto ticket = session.files.begin_sync(handle_of(session, number, info));
    if (!ticket) return reply_error(request, ticket.error());
    wait_durable(request, *ticket);
}

void fsyncdir(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) {
    wait_durable(request, mount_session::of(request).files.begin_sync_names());
}

void fallocate(fuse_req_t request, fuse_ino_t number, int mode, off_t offset, off_t size, fuse_file_info* info) {
    if (offset < 0 || size <= 0) return static_cast<void>(fuse_reply_err(request, EINVAL));
    auto& session = mount_session::of(request);
    if (session.done_before()) return static_cast<void>(fuse_reply_err(request, 0));
    reply_result(request, session.files.allocate(handle_of(session, number, info), mode,
                                                 static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(size)));
}

void lseek(fuse_req_t request, fuse_ino_t number, off_t offset, int whence, fuse_file_info* info) {
    if (offset < 0) return static_cast<void>(fuse_reply_err(request, ENXIO));
    if (whence != SEEK_DATA && whence != SEEK_HOLE) return static_cast<void>(fuse_reply_err(request, EINVAL));
    auto& session = mount_session::of(request);
    const auto found =
        session.files.seek(handle_of(session, number, info), static_cast<std::uint64_t>(offset), whence == SEEK_DATA);
    if (!found) return reply_error(request, found.error(), true);
    fuse_reply_lseek(request, static_cast<off_t>(*found));
}

void copy_file_range(fuse_req_t request, fuse_ino_t from_number, off_t from_offset, fuse_file_info* from,
                     fuse_ino_t to_number, off_t to_offset, fuse_file_info* to, std::size_t size, int flags) {
    if (flags != 0 || from_offset < 0 || to_offset < 0) return static_cast<void>(fuse_reply_err(request, EINVAL));
    auto& session = mount_session::of(request);
    if (const auto done = session.done_before()) return static_cast<void>(fuse_reply_write(request, done->size));
    const auto copied =
        session.files.copy_range(handle_of(session, from_number, from), static_cast<std::uint64_t>(from_offset),
                                 handle_of(session, to_number, to), static_cast<std::uint64_t>(to_offset), size);
    if (!copied) return reply_error(request, copied.error());
    fuse_reply_write(request, *copied);
}

}  // namespace

void add_file_operations(fuse_lowlevel_ops& table) {
    table.init = init;
    table.open = watched<"open", open>::call;
    table.release = watched<"release", release>::call;
    table.read = watched<"read", read>::call;
    table.write = watched<"write", write>::call;
    table.flush = watched<"flush", flush>::call;
    table.fsync = watched<"fsync", fsync>::call;
    table.fsyncdir = watched<"fsyncdir", fsyncdir>::call;
    table.fallocate = watched<"fallocate", fallocate>::call;
    table.lseek = watched<"lseek", lseek>::call;
    table.copy_file_range = watched<"copy_file_range", copy_file_range>::call;
}

}  // namespace warifu
