#include "fs/volume/volume_impl.h"

#include <rocksdb/db.h>

#include "fs/base/failpoint.h"
#include "fs/sharing/layout.h"

namespace warifu {

volume_impl::volume_impl(asio::io_context& core, volume_options options, scheme shape)
    : core_(core),
      options_(std::move(options)),
      shape_(shape),
      pool_(options_.worker_count),
      members_(core.get_executor(), options_.threshold,
               [&] {
                   std::vector<site_link> links;
                   for (const volume_site& site : options_.sites) {
                       site_link& link = links.emplace_back();
                       link.name = site.name;
                       link.index.value = static_cast<std::uint8_t>(links.size() - 1);
                       link.store = site.store;
                   }
                   return links;
               }()),
      codec_(shape, options_.id),
      chunks_(members_, shape, options_.id, pool_,
              options_.randomness ? options_.randomness : std::make_shared<drbg_supply>(),
              options_.memory_size / 4 * 3),
      identity_(this_writer()),
      snapshot_done_(core.get_executor()),
      loops_done_(core.get_executor()),
      stop_(core.get_executor()),
      beat_now_(core.get_executor()) {}

volume_impl::~volume_impl() {
    waiting_pool_.join();
    pool_.join();
}

volume_description volume_impl::description() const {
    volume_description d;
    d.id = options_.id;
    d.threshold = static_cast<std::uint8_t>(options_.threshold);
    for (const volume_site& site : options_.sites) d.sites.push_back(site.name);
    return d;
}

metadata_files_options volume_impl::files_options() const {
    metadata_files_options o;
    o.piece_payload_size = metadata_piece_payload_size(shape_);
    o.cache_size = options_.memory_size / 4;
    return o;
}

std::uint32_t volume_impl::unit_count(std::uint32_t size) const {
    return piece_layout(shape_, size).units();
}

chunk_id volume_impl::allocate_chunk() {
    chunk_id id;
    id.epoch = members_.authority;  // constant once open
    id.sequence = next_chunk_.fetch_add(1);
    return id;
}

result<void> volume_impl::check_writable() const {
    const std::lock_guard lock(status_mutex_);
    if (not_writable_) return fail(*not_writable_);
    return {};
}

task<> volume_impl::put_chunk(chunk_id id, std::vector<slice> pieces, std::function<void()> on_its_way) {
    std::uint64_t units = 0;
    for (const slice& piece : pieces) units += unit_count(static_cast<std::uint32_t>(piece.size()));
    auto done = co_await chunks_.put(id, chunk_kind::data, std::move(pieces), std::move(on_its_way));
    if (done) space_.put(units * shape_.unit_size());  // a share is as large as its secret
    publish_status();
    co_return done;
}

task<slice> volume_impl::read(extent where, std::uint32_t offset, std::uint32_t size) {
    piece_ref piece;
    piece.name.chunk = where.chunk;
    piece.name.piece = where.piece;
    piece.payload_size = where.piece_size;
    piece.first_tag_unit = where.first_unit;
    co_return co_await chunks_.read(piece, offset, size);
}

std::unique_ptr<captured_edits> volume_impl::capture() {
    auto taken = std::make_unique<captured_batches>();
    const auto flushed = db_->FlushWAL(false);
    if (!flushed.ok()) {
        taken->failed = error(errc::io_error, "the metadata log cannot be written: " + flushed.ToString());
        return taken;
    }
    taken->number = ++captures_;
    if (returned_) taken->batches = std::move(std::exchange(returned_, nullptr)->batches);
    while (files_->has_edits()) taken->batches.push_back(files_->take_edits(record_edit_size_max));
    if (snapshot_wanted_.exchange(false)) taken->snapshot = files_->snapshot();
    return taken;
}

std::unique_ptr<captured_edits> volume_impl::give_back(std::unique_ptr<captured_edits> edits) {
    returned_.reset(static_cast<captured_batches*>(edits.release()));  // the only kind that capture() makes
    if (returned_->snapshot) snapshot_wanted_ = true;
    return nullptr;
}

task<> volume_impl::append_batches(std::vector<edit_batch>& batches, std::vector<chunk_id> chunks) {
    if (batches.empty() && chunks.empty()) co_return result<void>();
    if (batches.empty()) batches.emplace_back();
    for (edit_batch& batch : batches) {
        journal_record record;
        record.edits = std::move(batch.bytes);
        // All data chunks are named by the first record: a crash between two records leaves a prefix that has its data.
        chunks.insert(chunks.end(), batch.chunks.begin(), batch.chunks.end());
        CO_TRY_VOID(co_await journal_->append(std::move(record), std::exchange(chunks, {})));
    }
    co_return result<void>();
}

/// The first record of a snapshot that the journal may be cut behind. The parts follow each other without a gap: when a
/// member falls silent and the smaller view is written between two of them, they begin again.
task<std::uint64_t> volume_impl::append_parts(const byte_vector& state, const std::vector<chunk_id>& chunks,
                                              std::optional<share_index> restart_at) {
    const std::uint64_t first = journal_->last_sequence() + 1;
    const std::size_t parts = std::max<std::size_t>(1, divide_up(state.size(), record_edit_size_max));
    for (std::size_t part = 0; part < parts; ++part) {
        if (journal_->last_sequence() + 1 != first + part) co_return co_await append_parts(state, chunks, restart_at);
        journal_record record;
        snapshot_part place;
        place.part = static_cast<std::uint32_t>(part);
        place.parts = static_cast<std::uint32_t>(parts);
        record.snapshot = place;
        if (part == 0) {
            members_.view_dirty = true;  // a snapshot says the view
            record.description = description();
            record.epochs = epochs_;
        }
        const std::size_t from = part * record_edit_size_max;
        const std::size_t size = std::min(record_edit_size_max, state.size() - from);
        record.edits.assign(state.begin() + static_cast<std::ptrdiff_t>(from),
                            state.begin() + static_cast<std::ptrdiff_t>(from + size));
        CO_TRY_VOID(co_await journal_->append(std::move(record), part == 0 ? chunks : std::vector<chunk_id>(),
                                              part == 0 ? restart_at : std::nullopt));
    }
    co_return first;
}

task<> volume_impl::append_snapshot(const byte_vector& state, const std::vector<chunk_id>& chunks) {
    CO_TRY(const std::uint64_t first,
           co_await append_parts(state, chunks, std::exchange(snapshot_restart_at_, std::nullopt)));
    journal_->snapshot_written();
    ++snapshots_;
    failpoint("snapshot.written");
    co_await journal_->cut(first);
    failpoint("snapshot.cut");
    snapshot_done_.set();
    co_return result<void>();
}

task<> volume_impl::commit(std::unique_ptr<captured_edits> captured, std::vector<chunk_id> chunks) {
    const std::unique_ptr<captured_batches> edits(static_cast<captured_batches*>(captured.release()));
    failpoint("commit.captured");
    if (edits->failed) co_return fail(*edits->failed);
    std::vector<chunk_id> named = chunks;
    for (const edit_batch& batch : edits->batches) named.insert(named.end(), batch.chunks.begin(), batch.chunks.end());
    result<void> done;
    {
        const auto lock = co_await journal_->commit_lock().lock();
        if (edits->snapshot)
            done = co_await append_snapshot(*edits->snapshot, named);
        else
            done = co_await append_batches(edits->batches, std::move(chunks));
    }
    if (done) {
        failpoint("commit.done");
        chunks_.committed(named);
        durable_capture_ = edits->number;
        const deadline due = steady_clock::now() + std::chrono::milliseconds(options_.removal_delay_ms);
        for (const edit_batch& batch : edits->batches)
            for (const table_chunk& chunk : batch.dead) {
                chunks_.committed({chunk.chunk});
                dead_tables_.push_back(dead_table{chunk, due});
            }
        if (journal_->bytes_since_snapshot() > space_.journal_size_max() && !snapshot_preparing_ && !snapshot_wanted_) {
            snapshot_preparing_ = true;
            spawn(prepare_snapshot());
        }
    } else {
        members_.lose_authority(done.error().message());
    }
    publish_status();
    co_return done;
}

/// Lets RocksDB move a large live log into tables, then asks for a snapshot in the next commit.
awaitable<void> volume_impl::prepare_snapshot() {
    if (files_->snapshot_size() > snapshot_log_size_max) {
        co_await run_in(waiting_pool_, [this] {
            rocksdb::FlushOptions flush;
            flush.wait = true;
            return db_->Flush(flush).ok();
        });
    }
    snapshot_wanted_ = true;
    snapshot_preparing_ = false;
    if (commit_wanted_) commit_wanted_();
}

task<> volume_impl::snapshot_now(share_index restart_at) {
    snapshot_done_.reset();
    snapshot_restart_at_ = restart_at;
    snapshot_wanted_ = true;
    if (commit_wanted_) commit_wanted_();
    if (!co_await snapshot_done_.wait(deadline_in_ms(snapshot_wait_ms)))
        co_return fail(errc::timed_out, "no commit took the snapshot");
    co_return result<void>();
}

result<table_chunk> volume_impl::put_table_chunk(bytes_view payload) {
    table_chunk made;
    made.chunk = allocate_chunk();
    made.payload_size = static_cast<std::uint32_t>(payload.size());
    const std::size_t step = metadata_piece_payload_size(shape_);
    const slice whole(buffer::copy_of(payload));
    std::vector<slice> pieces;
    for (std::size_t at = 0; at < payload.size(); at += step)
        pieces.push_back(whole.part(at, std::min(step, payload.size() - at)));
    TRY_VOID(run_on(core_, chunks_.put(made.chunk, chunk_kind::metadata, std::move(pieces))));
    return made;
}

result<buffer> volume_impl::get_table_piece(const table_chunk& chunk, std::uint32_t piece) {
    const std::uint32_t step = metadata_piece_payload_size(shape_);
    if (std::uint64_t{piece} * step >= chunk.payload_size) return fail(errc::bad_argument, "no such piece of a table");
    piece_ref wanted;
    wanted.kind = chunk_kind::metadata;
    wanted.name.chunk = chunk.chunk;
    wanted.name.piece = piece;
    wanted.payload_size = std::min(step, chunk.payload_size - piece * step);
    TRY(const slice bytes, run_on(core_, chunks_.read(wanted, 0, wanted.payload_size)));
    return buffer::copy_of(bytes.view());
}

void volume_impl::publish_status() {
    if (closed_) return;  // a put that ends now: names_ belong to the worker that closes RocksDB
    volume_status now;
    now.id = options_.id;
    now.threshold = options_.threshold;
    now.site_count = members_.site_count;
    now.epoch = members_.authority.is_zero() && !epochs_.empty() ? epochs_.back().epoch : members_.authority;
    const auto writable = members_.check_writable();
    now.writable = writable.has_value();
    if (!writable) now.reason = writable.error().text;
    for (const auto& [site, what] : members_.waiting_for)
        now.reason += (now.reason.empty() ? "waits for " : "; ") + what;
    for (const share_index site : members_.out_of_contact)
        if (!members_.waiting_for.contains(site))
            now.reason += (now.reason.empty() ? "waits for " : "; ") + members_.site(site).name;
    now.strength = std::min(options_.pad_claim, chunks_.random_strength());
    if (!chunks_.waits_for_randomness().empty())
        now.reason += (now.reason.empty() ? "waits for " : "; ") + chunks_.waits_for_randomness();
    std::uint64_t free = ~std::uint64_t{0}, capacity = ~std::uint64_t{0};
    for (const site_link& link : members_.sites) {
        volume_status::site s;
        s.name = link.name;
        s.role = link.role == site_role::member && link.silent_beats > 0 ? site_role::down : link.role;
        s.in_view = link.role == site_role::member;
        s.capacity = link.capacity;
        s.free = link.free;
        s.heal_done = link.heal_done;
        s.heal_total = link.heal_total;
        s.reason = link.reason;
        now.sites.push_back(std::move(s));
        if (link.role != site_role::member) continue;
        free = std::min(free, link.free);
        capacity = std::min(capacity, link.capacity);
    }
    space_.looked(space_look_, free, capacity);
    if (names_) now.user_bytes = names_->use().stored_bytes;
    if (following_) now.user_bytes = shown_bytes_;
    now.random_bytes = chunks_.counters().random_bytes;
    now.snapshots = snapshots_;
    if (journal_) {
        now.sequence = journal_->committed();
        now.journal_bytes = journal_->bytes_total();
    }
    if (unsure_) now.reason += "; " + std::string(unsure_reason);
    if (following_) {
        now.sequence = applied_;
        if (!follow_trouble_.empty()) now.reason += "; cannot follow: " + follow_trouble_;
    }
    const std::lock_guard lock(status_mutex_);
    status_ = std::move(now);
    not_writable_ = writable ? std::nullopt : std::optional<error>(writable.error());
}

volume_status volume_impl::status() const {
    const std::lock_guard lock(status_mutex_);
    return status_;
}

void volume_impl::spawn(awaitable<void> work) {
    ++loops_;
    asio::co_spawn(core_, std::move(work), [this](std::exception_ptr failure) {
        if (failure) std::rethrow_exception(failure);
        if (--loops_ == 0) loops_done_.set();
    });
}

void volume_impl::start_upkeep() {
    publish_status();
    if (following_) spawn(follow_loop());
    if (options_.mode != open_mode::write) return;
    spawn(heartbeat_loop());
    spawn(return_loop());
    spawn(reap_loop());
}

task<> volume_impl::close() {
    if (std::exchange(closed_, true)) co_return result<void>();
    stop_.set();
    beat_now_.set();
    members_.stopping = true;
    while (loops_ > 0) {
        loops_done_.reset();
        co_await loops_done_.wait();
    }
    // RocksDB waits for its threads, and those for this thread: so it closes on a worker.
    co_await run_in(waiting_pool_, [this] {
        generations_.clear();
        names_.reset();
        db_.reset();
        return true;
    });
    if (!members_.authority.is_zero()) co_await say_goodbye();
    co_await chunks_.wait_idle();
    co_return result<void>();
}

task<> volume::create(asio::io_context& core, volume_options options) {
    CO_TRY(const scheme shape, scheme::make(options.threshold, static_cast<unsigned>(options.sites.size())));
    volume_impl made(core, std::move(options), shape);
    const auto done = co_await made.create_fresh();
    co_await made.close();
    co_return done;
}

task<std::unique_ptr<volume>> volume::open(asio::io_context& core, volume_options options) {
    CO_TRY(const scheme shape, scheme::make(options.threshold, static_cast<unsigned>(options.sites.size())));
    auto opened = std::make_unique<volume_impl>(core, std::move(options), shape);
    const auto done = co_await opened->open_existing();
    if (!done) {
        co_await opened->close();
        co_return fail(done.error());
    }
    co_return std::unique_ptr<volume>(std::move(opened));
}

}  // namespace warifu
