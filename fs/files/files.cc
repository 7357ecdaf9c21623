// Open, write, read, flush, release, fsync, drain: file_system_impl.h.

#include <sys/stat.h>

#include "fs/base/limits.h"
#include "fs/files/file_system_impl.h"

namespace warifu {
namespace {

constexpr int follow_tries_max = 5;  // the writer may commit between two looks at a file
/// Room that the redo log must have before writers that waited for it go on.
constexpr std::size_t dirty_hold_size = 4U << 20U;

/// Tells how much is left, about once a second, until *done.
awaitable<void> report_progress(const dirty_budget* budget, std::function<void(std::uint64_t)> progress,
                                std::shared_ptr<bool> done) {
    while (!*done) {
        progress(budget->bytes());
        co_await sleep_for(std::chrono::seconds(1));
    }
}

bool names_same_chunks(const read_plan& a, const read_plan& b) {
    if (a.parts.size() != b.parts.size()) return false;
    for (std::size_t i = 0; i < a.parts.size(); ++i)
        if (a.parts[i].where != b.parts[i].where) return false;
    return true;
}

}  // namespace

std::unique_ptr<file_system> file_system::make(asio::io_context& core, volume& v, file_system_options options) {
    auto made = std::make_unique<file_system_impl>(core, v, options);
    made->start();
    return made;
}

file_system_impl::parts::parts(asio::io_context& core, volume& v, const file_system_options& options,
                               committer::hooks calls)
    : budget(core, options.dirty_size_max),
      writer(core, v, budget, [this] { commits.arm(); }),
      reader(core, v, writer, options),
      commits(core, worker, v, writer, budget, options.commit_interval_ms, std::move(calls)) {}

file_system_impl::file_system_impl(asio::io_context& core, volume& v, file_system_options options)
    : core_(core),
      volume_(v),
      options_(options),
      chunk_size_(v.chunk_size()),
      follows_(!v.check_writable()),
      redo_(options.redo),
      resumed_(redo_ && redo_->starts() > 1),
      handles_(redo_ ? std::uint64_t{redo_->starts()} << 40U : 1),
      parts_(std::make_unique<parts>(core, v, options, commit_hooks())),
      budget_(parts_->budget),
      inodes_(parts_->inodes),
      writer_(parts_->writer),
      reader_(parts_->reader),
      worker_(parts_->worker),
      committer_(parts_->commits) {}

committer::hooks file_system_impl::commit_hooks() {
    committer::hooks calls;
    calls.seal_dirty = [this] { seal_dirty(); };
    calls.refit_failed = [this] { return writer_.refit_failed(inodes_); };
    calls.captured = [this]() -> std::uint64_t {
        const std::uint64_t mark = redo_ ? names().sequence() : 0;
        if (redo_) redo_->captured(mark);
        return mark;
    };
    calls.durable = [this](std::uint64_t mark) {
        if (!redo_) return;
        redo_->durable(mark);
        if (redo_->has_room(dirty_hold_size)) budget_.hold(false);
    };
    return calls;
}

file_system_impl::~file_system_impl() {
    closing_ = true;
    worker_.stop();  // from here on nothing calls the hooks
    worker_.join();
    if (committer_.is_running() && !core_.stopped()) {
        writer_.abandon();
        static std::mutex mutex;
        static auto* abandoned = new std::vector<std::unique_ptr<parts>>;
        const std::lock_guard lock(mutex);
        abandoned->push_back(std::move(parts_));
    }
}

void file_system_impl::start() {
    committer_.start();
    // The volume may outlive this object; then there is nothing left to commit.
    const std::weak_ptr<int> alive = alive_;
    asio::post(core_, [this, alive] {
        if (alive.expired()) return;
        volume_.set_commit_wanted([this, alive] {
            if (!alive.expired()) committer_.force();
        });
    });
    // What an earlier daemon of this mount unlinked may still be open: the kernel will say when it is not.
    if (resumed_) references_.inherit();
    if (!follows_ && !resumed_) asio::post(worker_, [this] { forget_old_orphans(); });
}

result<void> file_system_impl::check_space(std::uint64_t size) const {
    if (volume_.free_bytes() < budget_.bytes() + size) return fail(errc::no_space, "the volume is full");
    return {};
}

result<std::shared_ptr<open_file>> file_system_impl::file_of(file_handle handle) const {
    auto file = handles_.find(handle);
    if (!file) return fail(errc::stale_handle, "no such open file");
    return file;
}

result<std::shared_ptr<open_file>> file_system_impl::writable_file_of(file_handle handle) const {
    TRY(auto file, file_of(handle));
    if (!file->for_writing) return fail(errc::stale_handle, "the file is not open for writing");
    TRY_VOID(check_writable());
    if (auto why = writer_.failure_of(file->state->number)) return fail(*why);
    return file;
}

result<file_handle> file_system_impl::open(inode_number number, bool for_writing) {
    if (for_writing) TRY_VOID(check_writable());
    TRY(auto file, open_file_of(number, for_writing));
    return handles_.add(std::move(file));
}

result<void> file_system_impl::adopt(file_handle handle, inode_number number, bool for_writing) {
    if (handles_.find(handle)) return {};
    TRY(const auto file, open_file_of(number, for_writing));
    if (!handles_.adopt(handle, file)) close_file(*file);  // another thread was faster
    return {};
}

result<std::shared_ptr<open_file>> file_system_impl::open_file_of(inode_number number, bool for_writing) {
    if (!inodes_.find(number)) static_cast<void>(names().get(number));  // so that the lock below waits for nothing
    const std::lock_guard lock(volume_.names_lock());
    auto state = inodes_.find(number);
    if (!state) {
        TRY(const auto found, get_stored(number));
        if ((found.mode & S_IFMT) == S_IFDIR) return fail(errc::is_directory);
        state = std::make_shared<inode_state>(found, chunk_size_);
        state->last_change = committer_.last_change();
        if (found.link_count == 0) {  // unlinked under an earlier daemon of this mount
            state->removed = true;
            ++orphans_;
        }
        inodes_.insert(state);
    }
    ++state->open_count;
    auto file = std::make_shared<open_file>();
    file->state = std::move(state);
    file->for_writing = for_writing;
    return file;
}

void file_system_impl::account(const dirty_ranges& now, std::uint64_t bytes_before, std::size_t memory_before) {
    budget_.add(static_cast<std::int64_t>(now.bytes()) - static_cast<std::int64_t>(bytes_before),
                static_cast<std::int64_t>(now.memory()) - static_cast<std::int64_t>(memory_before));
}

result<write_progress> file_system_impl::write(file_handle handle, std::uint64_t offset, bytes_view bytes,
                                               bool append) {
    TRY(const auto file, writable_file_of(handle));
    if (bytes.empty()) return write_progress{};
    const auto hurry_if_stuck = [this] {
        // Mostly tails of open files: only sealing them gets them on their way.
        if (budget_.memory() > writer_.memory() + options_.dirty_size_max / 2) committer_.hurry();
    };
    if (!has_redo_room(bytes.size())) return write_progress{0, true};
    std::optional<dirty_budget::admission> admitted(std::in_place, budget_, bytes.size());
    if (!*admitted) {
        hurry_if_stuck();
        return write_progress{0, true};
    }
    TRY_VOID(check_space(bytes.size()));
    const state_pointer& state = file->state;
    bool full = false;
    bool many = false;
    {
        const std::lock_guard lock(state->mutex);
        if (append) offset = std::max(state->attributes.size, state->dirty.end());
        if (offset > file_size_max || bytes.size() > file_size_max - offset)
            return fail(errc::file_too_big, "a file is larger than the limit");
        const std::uint64_t bytes_before = state->dirty.bytes();
        const std::size_t memory_before = state->dirty.memory();
        full = state->dirty.write(offset, bytes);
        account(state->dirty, bytes_before, memory_before);
        admitted.reset();
        many = state->dirty.run_count() > dirty_run_count_max;
        state->attributes.modify_time = state->attributes.change_time = operation_time();
        state->attributes_dirty = true;
        keep_write(*state, offset, bytes, append);
    }
    list_dirty(state);
    bytes_written_ += bytes.size();
    if (full || many) TRY_VOID(seal(state, !many));
    write_progress taken{bytes.size(), budget_.is_tight()};
    if (taken.wait) hurry_if_stuck();
    return taken;
}

task<> file_system_impl::wait_for_room(std::uint64_t size, interrupt_flag interrupted) {
    co_return co_await budget_.wait_for_room(size, std::move(interrupted));
}

void file_system_impl::wake_waiting() {
    budget_.wake();
}

file_system::intake file_system_impl::taken_in() const {
    const std::uint64_t gone = budget_.gone();  // first: there is never more gone than came
    return {budget_.came(), gone, budget_.uncovered()};
}

result<read_plan> file_system_impl::plan_followed(open_file& file, std::uint64_t offset, std::uint64_t size) {
    TRY(inode before, follow(file.state->number));
    for (int tries = 1;; ++tries) {
        auto plan = reader_.plan(file, offset, size);
        TRY(inode after, follow(file.state->number));
        if (after == before || tries == follow_tries_max) return plan;
        before = std::move(after);
    }
}

result<read_plan> file_system_impl::plan_read(file_handle handle, std::uint64_t offset, std::uint64_t size) {
    TRY(const auto file, file_of(handle));
    TRY(auto plan, follows_ ? plan_followed(*file, offset, size) : reader_.plan(*file, offset, size));
    plan.handle = handle;
    bytes_read_ += plan.size;
    return plan;
}

task<std::vector<slice>> file_system_impl::fetch(read_plan plan) {
    auto bytes = co_await reader_.fetch(plan);
    if (bytes) co_return bytes;
    // The file may have been overwritten or its pieces moved between the plan and the fetch: then look again, once.
    const auto file = handles_.find(plan.handle);
    if (!file) co_return bytes;
    const auto look = [this, file, &plan] {
        return follows_ ? plan_followed(*file, plan.offset, plan.size) : reader_.plan(*file, plan.offset, plan.size);
    };
    auto again = co_await run_in(worker_, look);
    if (!again && again.error().code == errc::stale_handle) co_return fail(again.error());
    if (!again || names_same_chunks(plan, *again)) co_return bytes;
    co_return co_await reader_.fetch(std::move(*again));
}

result<void> file_system_impl::flush_file(const open_file& file) {
    if (!file.for_writing) return {};
    const state_pointer& state = file.state;
    TRY_VOID(seal(state, false));
    if (auto why = writer_.failure_of(state->number)) return fail(*why);
    if (auto why = committer_.fatal()) {
        const std::lock_guard lock(state->mutex);
        if (state->last_change > committer_.committed()) return fail(*why);
    }
    return {};
}

result<void> file_system_impl::flush(file_handle handle) {
    TRY(const auto file, file_of(handle));
    return flush_file(*file);
}

void file_system_impl::release(file_handle handle) {
    const auto file = handles_.remove(handle);
    if (!file) return;
    // Pages of shared mappings may have come after the last flush. An error stays with the inode's dirty bytes.
    if (file->for_writing) static_cast<void>(seal(file->state, false));
    close_file(*file);
}

void file_system_impl::close_file(const open_file& file) {
    const std::lock_guard lock(volume_.names_lock());
    --file.state->open_count;
    let_go(file.state);
}

result<std::uint64_t> file_system_impl::begin_sync(file_handle handle) {
    TRY(const auto file, file_of(handle));
    TRY_VOID(seal(file->state, false));
    // The names that lead to the file must be durable too, so the ticket covers every change and not only the file's.
    return committer_.last_change();
}

result<std::uint64_t> file_system_impl::begin_sync_all() {
    std::vector<state_pointer> listed;
    {
        const std::lock_guard lock(dirty_mutex_);
        listed = dirty_;
    }
    for (const auto& state : listed) TRY_VOID(seal(state, false));
    return committer_.last_change();
}

std::uint64_t file_system_impl::begin_sync_names() {
    return committer_.last_change();
}

task<> file_system_impl::finish_sync(std::uint64_t ticket) {
    co_return co_await committer_.wait(ticket);
}

task<> file_system_impl::drain(std::function<void(std::uint64_t)> progress) {
    const auto done = std::make_shared<bool>(false);
    if (progress) asio::co_spawn(core_, report_progress(&budget_, std::move(progress), done), asio::detached);
    const auto seal_all = [this] { return begin_sync_all(); };
    const auto ticket = co_await run_in(worker_, seal_all);
    result<void> outcome;
    if (ticket)
        outcome = co_await committer_.wait(*ticket);
    else
        outcome = fail(ticket.error());
    *done = true;
    if (!outcome) co_return outcome;
    closing_ = true;
    const auto worker_idle = [] { return true; };  // whatever was queued before has run when this has
    co_await run_in(worker_, worker_idle);
    outcome = co_await committer_.wait(committer_.last_change());
    co_await committer_.stop();
    budget_.fail(error(errc::cancelled, "the mount ends"));
    while (!reader_.is_idle()) co_await sleep_for(std::chrono::milliseconds(5));
    co_await asio::post(core_, asio::use_awaitable);  // what was posted to this thread before has run, too
    co_return outcome;
}

file_system::space file_system_impl::statistics() {
    space now;
    now.capacity = volume_.capacity_bytes();
    const std::uint64_t free = volume_.free_bytes();
    const std::uint64_t accepted = budget_.bytes();
    now.free = free > accepted ? free - accepted : 0;
    now.inodes = names().use().inodes;
    return now;
}

file_system_counters file_system_impl::counters() const {
    file_system_counters now;
    now.bytes_written = bytes_written_;
    now.bytes_read = bytes_read_;
    now.commits = committer_.commits();
    now.commits_failed = committer_.commits_failed();
    now.chunks_put = writer_.chunks_put();
    now.puts_failed = writer_.puts_failed();
    now.dirty_bytes = budget_.bytes();
    now.dirty_memory = budget_.memory();
    now.open_files = handles_.size();
    now.read_cache_bytes = reader_.cached_bytes();
    now.orphans = orphans_;
    now.uncommitted = now.dirty_bytes != 0 || committer_.last_change() > committer_.committed();
    return now;
}

}  // namespace warifu
