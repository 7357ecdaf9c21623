#pragma once
// What the operations share: the file system, and requests that are answered later.
//
// Each request gets exactly one legal reply. Most are answered on the FUSE thread that took them. A request that waits
// (a read from the sites, a write without room, an fsync) becomes an async_request, which the core thread answers; when
// the kernel interrupts it, the core thread answers at once, and what it waited for is dropped.

#define FUSE_USE_VERSION 312
#include <atomic>
#include <fuse_lowlevel.h>
#include <memory>

#include "fs/files/file_system.h"
#include "fs/mount/errno.h"

namespace warifu {

struct mount_session {
    mount_session(file_system& f, asio::io_context& c) : files(f), core(c) {}
    file_system& files;
    asio::io_context& core;
    bool read_only = false;
    double cache_seconds = 60;
    asio::thread_pool retries{1};            // writes that waited for room are tried again here
    std::atomic<std::uint64_t> waiting = 0;  // async_requests without a reply
    std::function<void()> on_init;           // the kernel's first request came

    static mount_session& of(fuse_req_t request) { return *static_cast<mount_session*>(fuse_req_userdata(request)); }
};

class async_request : public std::enable_shared_from_this<async_request> {
  public:
    using reply = std::function<void(fuse_req_t)>;
    /// `if_interrupted` is the reply to an interrupted request.
    static std::shared_ptr<async_request> make(mount_session& session, fuse_req_t request, reply if_interrupted);

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

    async_request(mount_session& session, fuse_req_t request, reply if_interrupted)
        : session_(session), request_(request), if_interrupted_(std::move(if_interrupted)) {}

  private:
    enum class stage : std::uint8_t { waiting, claimed, claimed_and_interrupted, interrupted };
    static void on_interrupt(fuse_req_t request, void* self);
    void give_up();

    mount_session& session_;
    const fuse_req_t request_;
    const reply if_interrupted_;
    const interrupt_flag interrupted_ = std::make_shared<std::atomic<bool>>(false);
    std::atomic<stage> stage_ = stage::waiting;
    bool answered_ = false;  // core thread
};

/// Every operation that is implemented.
const fuse_lowlevel_ops& mount_operations();

// Parts of that table, by file: operations_names.cc, operations_files.cc, operations_attributes.cc.
void add_name_operations(fuse_lowlevel_ops& table);
void add_file_operations(fuse_lowlevel_ops& table);
void add_attribute_operations(fuse_lowlevel_ops& table);

// Translation.
struct stat to_stat(const inode& from);
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
