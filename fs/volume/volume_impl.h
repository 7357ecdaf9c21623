#pragma once
// The one implementation of `volume`: owns the parts and the loops that run beside each other on the core thread.
//
//   opening.cc   promises, recovery of the journal's tail, the opening record; creation
//   volume_impl.cc  commits, snapshots, status, close
//   following.cc a read-only volume takes over what the writer commits
//   upkeep.cc    heartbeats, return of sites, healing
//   reaper.cc    removal of what commits freed

#include <deque>
#include <thread>

#include "fs/volume/chunk_io.h"
#include "fs/volume/generations.h"
#include "fs/volume/history.h"
#include "fs/volume/journal_writer.h"
#include "fs/volume/metadata_db.h"
#include "fs/volume/metadata_files.h"
#include "fs/volume/space_account.h"
#include "fs/volume/volume.h"

namespace warifu {

/// What capture() hands out (static_cast in commit()).
class captured_batches final : public captured_edits {
  public:
    std::vector<edit_batch> batches;
    std::optional<byte_vector> snapshot;  // the whole state after these edits, when one is due
    std::uint64_t number = 0;             // of the capture, ascending
    std::optional<error> failed;          // RocksDB could not hand over its log: nothing was taken
};

class volume_impl final : public volume, public table_chunk_io {
  public:
    volume_impl(asio::io_context& core, volume_options options, scheme shape);
    ~volume_impl() override;

    task<> create_fresh();
    task<> open_existing();

    name_space& names() override { return following_ ? generations_.current() : *names_; }
    std::mutex& names_lock() override { return names_lock_; }
    const scheme& sharing() const override { return shape_; }
    std::uint16_t placement() const override { return 0; }
    std::size_t chunk_size() const override { return shape_.chunk_units_max() * shape_.unit_size(); }
    std::uint32_t unit_count(std::uint32_t size) const override;
    chunk_id allocate_chunk() override;
    volume_status status() const override;
    std::uint64_t capacity_bytes() const override { return space_.capacity(); }
    std::uint64_t free_bytes() const override { return space_.free(); }
    result<void> check_writable() const override;
    std::unique_ptr<captured_edits> capture() override;
    std::unique_ptr<captured_edits> give_back(std::unique_ptr<captured_edits> edits) override;
    task<> put_chunk(chunk_id id, std::vector<slice> pieces, std::function<void()> on_its_way) override;
    task<slice> read(extent where, std::uint32_t offset, std::uint32_t size) override;
    task<> commit(std::unique_ptr<captured_edits> edits, std::vector<chunk_id> chunks) override;
    void set_commit_wanted(std::function<void()> ask) override {
        commit_wanted_ = ask;
        chunks_.commit_wanted = std::move(ask);
        if (snapshot_wanted_ && commit_wanted_) commit_wanted_();  // since the opening
    }
    void site_changed() override { beat_now_.set(); }
    task<> close() override;

  private:
    // table_chunk_io: RocksDB's threads
    result<table_chunk> put_table_chunk(bytes_view payload) override;
    result<buffer> get_table_piece(const table_chunk& chunk, std::uint32_t piece) override;

    // opening.cc
    using site_states = std::map<share_index, store_state>;
    using site_journals = std::map<share_index, std::pair<incarnation_id, journal_span>>;
    awaitable<site_states> ask_states();
    std::optional<writer_identity> live_writer(const site_states& states) const;
    task<> wait_for_writer(site_states& states);
    task<> take_authority(site_states& states);
    awaitable<std::vector<site_journal>> read_journals(const site_states& states);
    awaitable<void> forget_changed_stores(site_states& states, std::vector<site_journal>& journals);
    task<> settle_view(const history& past, const site_states& states, const std::vector<site_journal>& journals);
    task<std::vector<share_index>> restore_tail(const history& past, const std::vector<site_journal>& journals);
    task<> copy_with_chunks(share_index site, journal_entry entry, bool restart, std::vector<share_index> holders);
    task<> write_opening(const history& past);
    task<> load(const history& past, const std::vector<site_journal>& journals, bool is_written);
    result<void> load_files(const history& past, std::uint64_t last);
    result<void> check_description(const volume_description& found) const;
    volume_description description() const;
    task<> draw_epoch_keys();
    metadata_files_options files_options() const;

    // volume_impl.cc
    task<> append_batches(std::vector<edit_batch>& batches, std::vector<chunk_id> chunks);
    task<std::uint64_t> append_parts(const byte_vector& state, const std::vector<chunk_id>& chunks,
                                     std::optional<share_index> restart_at);
    task<> append_snapshot(const byte_vector& state, const std::vector<chunk_id>& chunks);
    awaitable<void> prepare_snapshot();
    /// Asks for a snapshot in the next commit and waits until it is durable; `restart_at` begins its journal with it.
    task<> snapshot_now(share_index restart_at);
    void publish_status();
    void start_upkeep();
    /// Starts a loop that close() waits for.
    void spawn(awaitable<void> work);

    // following.cc
    task<> publish_generation();
    awaitable<void> follow_loop();
    bool has_news(const store_state& state) const;
    bool went_on_before(const store_state& state) const;
    result<void> apply_part(const journal_record& record);
    awaitable<bool> nearest_has_news();
    task<> follow();
    task<> follow_anew();
    result<void> apply(const std::vector<kept_record>& records);
    void take_view(const view& next);

    // upkeep.cc
    awaitable<void> heartbeat_loop();
    awaitable<bool> beat();
    void judge_member(site_link& link, const result<void>& beat, const store_state* state);
    awaitable<void> learn_successor();
    awaitable<void> write_view_if_dirty();
    awaitable<void> say_goodbye();
    awaitable<void> return_loop();
    awaitable<void> try_return(share_index site);
    task<> heal(share_index site);
    task<std::uint64_t> heal_pass(share_index site);
    task<std::vector<chunk_id>> list_site(share_index site);
    struct live_chunk {
        chunk_id id;
        chunk_kind kind;
    };
    task<std::vector<live_chunk>> live_chunks();
    task<> readmit(share_index site);

    // reaper.cc
    awaitable<void> reap_loop();
    awaitable<void> mark_freed();
    task<bool> reap_freed();
    awaitable<void> reap_tables();
    awaitable<void> collect_garbage();
    task<> remove_everywhere(std::vector<share_removal> removals);
    awaitable<bool> pause(steady_clock::duration duration);

    asio::io_context& core_;
    volume_options options_;
    const scheme shape_;
    asio::thread_pool pool_;
    // For what waits for RocksDB or for names_lock_, which may wait for pool_: a flush for a snapshot, the reaper, and
    // one look at all chunks. None of them waits for another one's thread.
    asio::thread_pool waiting_pool_{3};
    membership members_;
    record_codec codec_;
    chunk_io chunks_;
    std::unique_ptr<journal_writer> journal_;
    std::vector<epoch_keys> epochs_;
    writer_identity identity_;

    std::shared_ptr<metadata_files> files_;
    std::unique_ptr<rocksdb::DB> db_;
    std::unique_ptr<name_space> names_;
    std::mutex names_lock_;
    std::uint64_t captures_ = 0;                  // guarded by names_lock_
    std::unique_ptr<captured_batches> returned_;  // guarded by names_lock_
    std::atomic<bool> snapshot_wanted_ = false;
    bool snapshot_preparing_ = false;
    std::optional<share_index> snapshot_restart_at_;
    event snapshot_done_;
    std::function<void()> commit_wanted_;
    std::atomic<std::uint64_t> durable_capture_ = 0;
    std::atomic<std::uint64_t> next_chunk_ = 1;
    space_account space_;
    std::uint64_t space_look_ = 0;  // space_.begin_look() of what members_.sites say

    struct dead_table {
        table_chunk chunk;
        deadline due;
    };
    std::deque<dead_table> dead_tables_;
    struct freed_mark {
        std::uint64_t last_ticket = 0;
        std::uint64_t capture = 0;    // the commit that frees what is up to the ticket
        std::optional<deadline> due;  // once that is durable
    };
    std::deque<freed_mark> freed_marks_;
    std::uint64_t marked_ticket_ = 0;
    std::vector<chunk_id> tables_at_open_;
    std::size_t loops_ = 0;
    event loops_done_;
    event stop_;
    event beat_now_;
    bool closed_ = false;
    std::uint64_t snapshots_ = 0;
    std::string disputed_;
    int successor_asked_ = 0;

    // A follower: its namespace is the newest generation's, names_ and db_ are empty.
    bool following_ = false;  // constant once open
    generations generations_;
    std::uint64_t applied_ = 0;    // the last record that the files hold
    std::uint64_t published_ = 0;  // ... that a follower's readers are shown
    /// What was applied last may not be committed: its epoch, who was to hold it, and the last record that is.
    struct unsure_head {
        ballot epoch;
        view_mark mark;
        std::uint64_t certain = 0;
    };
    std::optional<unsure_head> unsure_;
    site_journals futile_;  // as they were when records were read and none of them was certain
    byte_vector snapshot_;  // its parts, as far as they were applied one after the other
    std::uint32_t snapshot_parts_ = 0;
    std::uint64_t shown_bytes_ = 0;  // of the newest generation's files
    std::string follow_trouble_;

    mutable std::mutex status_mutex_;
    volume_status status_;               // guarded by status_mutex_
    std::optional<error> not_writable_;  // guarded by status_mutex_
};

/// This process, for heartbeats; and whether the process that a heartbeat names is dead (same machine and boot only).
writer_identity this_writer();
bool is_dead(const writer_identity& writer);
/// For people: "process 12 on HOST".
std::string describe(const writer_identity& writer);

}  // namespace warifu
