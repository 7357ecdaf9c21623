#pragma once
// What the operations share: the file system, and requests that are answered later.
//
// Each request gets exactly one legal reply. Most are answered on the FUSE thread that took them. A request that waits
// (a read from the sites, a write without room, an fsync) becomes an async_request, which the core thread answers; when
// its caller is killed meanwhile, the core thread answers at once, and what it waited for is dropped.

#define FUSE_USE_VERSION 312
#include <algorithm>
#include <atomic>
#include <fuse_lowlevel.h>
#include <memory>

#include "fs/files/file_system.h"
#include "fs/mount/errno.h"
#include "fs/mount/id_map.h"
#include "fs/mount/request_watch.h"

namespace warifu {

class kept_connection;

struct mount_session {
    mount_session(file_system& f, asio::io_context& c) : files(f), core(c) {}
    file_system& files;
    asio::io_context& core;
    bool read_only = false;
    double cache_seconds = 60;
    id_map users, groups;
    asio::thread_pool retries{1};                 // writes that waited for room are tried again here
    std::atomic<std::uint64_t> waiting = 0;       // async_requests without a reply
    std::atomic<bool> hands_over = false;         // what still waits is left to the next daemon
    request_watch watch;                          // every request without a reply
    std::function<void()> on_init;                // the kernel's first request came
    std::shared_ptr<redo_log> redo;               // null: a daemon that crashes ends the mount
    std::shared_ptr<kept_connection> connection;  // then set, too

    /// What an earlier daemon did for the request at hand without telling the kernel.
    std::optional<redo_log::outcome> done_before() const { return redo ? redo->done_before() : std::nullopt; }

    static mount_session& of(fuse_req_t request) { return *static_cast<mount_session*>(fuse_req_userdata(request)); }
};

/// The handle that the kernel uses for an open file. Those of an earlier daemon of this mount become known here.
file_handle handle_of(mount_session& session, fuse_ino_t number, const fuse_file_info* info);
/// What the kernel gets for a handle: whether it may write is in the lowest bit, for a later daemon.
inline std::uint64_t to_kernel(file_handle handle, bool writing) {
    return handle << 1U | (writing ? 1U : 0U);
}

class async_request : public std::enable_shared_from_this<async_request> {
  public:
    using reply = std::function<void(fuse_req_t)>;
    /// `what` names the call in the log; `if_interrupted` is the reply to an interrupted request: one whose caller a
    /// signal ends. Other signals change nothing.
    static std::shared_ptr<async_request> make(mount_session& session, fuse_req_t request, const char* what,
                                               reply if_interrupted);

    /// The reply, unless the request was interrupted first. Core thread.
    void answer(const reply& how);
    void answer_error(const error& why, bool reading = false);
    bool is_answered() const { return answered_; }
    /// For waits that can be given up.
    const interrupt_flag& interrupted() const { return interrupted_; }
    /// From here on an interrupt does not change the answer (bytes are about to be accepted). False: interrupted
    /// before. Any thread.
    bool claim();
    /// Undoes claim(). False: it was interrupted meanwhile, and is answered now.
    bool unclaim();

    async_request(mount_session& session, fuse_req_t request, const char* what, reply if_interrupted)
        : session_(session),
          request_(request),
          caller_(fuse_req_ctx(request)->pid),
          if_interrupted_(std::move(if_interrupted)),
          seen_(session.watch, what) {}

  private:
    enum class stage : std::uint8_t { waiting, claimed, claimed_and_interrupted, interrupted };
    static void on_interrupt(fuse_req_t request, void* self);
    static awaitable<void> watch_caller(std::shared_ptr<async_request> self);
    void interrupt();
    void give_up();

    mount_session& session_;
    const fuse_req_t request_;
    const pid_t caller_;  // the thread
    const reply if_interrupted_;
    const interrupt_flag interrupted_ = std::make_shared<std::atomic<bool>>(false);
    std::atomic<stage> stage_ = stage::waiting;
    bool answered_ = false;  // core thread
    request_watch::entry seen_;
};

/// A function of the table, under the eyes of the watch while it runs: `watched<"lookup", lookup>::call`.
template <std::size_t Size>
struct call_name {
    constexpr call_name(const char (&from)[Size]) { std::copy_n(from, Size, text); }  // NOLINT: a literal
    char text[Size];
};
template <call_name Name, auto Function>
struct watched;
template <call_name Name, typename... Arguments, void (*Function)(fuse_req_t, Arguments...)>
struct watched<Name, Function> {
    static void call(fuse_req_t request, Arguments... arguments) {
        const request_watch::entry seen(mount_session::of(request).watch, Name.text);
        Function(request, arguments...);
    }
};

/// Every operation that is implemented.
const fuse_lowlevel_ops& mount_operations();

// Parts of that table, by file: operations_names.cc, operations_files.cc, operations_attributes.cc.
void add_name_operations(fuse_lowlevel_ops& table);
void add_file_operations(fuse_lowlevel_ops& table);
void add_attribute_operations(fuse_lowlevel_ops& table);

// Translation.
struct stat to_stat(const mount_session& session, const inode& from);
fuse_entry_param to_entry(const mount_session& session, const inode& from);
inline void reply_error(fuse_req_t request, const error& why, bool reading = false) {
    fuse_reply_err(request, to_errno(why, reading));
}
/// Success or the error.
inline void reply_result(fuse_req_t request, const result<void>& outcome) {
    fuse_reply_err(request, outcome ? 0 : to_errno(outcome.error()));
}
/// Answers with a new reference to the inode; takes the reference back when the kernel did not hear of it.
void reply_entry(fuse_req_t request, const inode& found);

}  // namespace warifu
