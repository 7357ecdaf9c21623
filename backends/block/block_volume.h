#pragma once
// One volume of a sector store as a share_store. Private to backends/block.

#include "backends/block/block_core.h"

namespace warifu {

class block_volume final : public share_store, public std::enable_shared_from_this<block_volume> {
  public:
    block_volume(std::shared_ptr<block_core> core, volume_ptr volume);
    ~block_volume() override;

    task<store_state> state() override;
    task<> reserve(ballot authority, std::uint64_t size) override;
    task<> put(share_put share) override;
    task<std::vector<slice>> get(chunk_id chunk, std::vector<share_range> ranges) override;
    task<share_description> describe(chunk_id chunk) override;
    task<> remove(ballot authority, std::vector<share_removal> removals) override;
    task<std::vector<chunk_id>> list(chunk_id after, std::uint32_t count) override;
    task<> append(append_request request) override;
    task<std::vector<journal_entry>> read_journal(std::uint64_t from, std::uint32_t size_max) override;
    task<> cut_journal(ballot authority, std::uint64_t first) override;
    task<> promise(ballot b) override;
    task<> heartbeat(ballot authority, writer_identity writer) override;
    task<> pin(std::vector<chunk_id> chunks, std::uint32_t ttl_ms) override;
    task<> sync() override;

  private:
    result<void> check_change(ballot authority) const;
    placed_ptr find(chunk_id chunk) const;
    task<bool> same_as_stored(share_put share, placed_ptr stored);
    task<> store_new(share_put share, std::uint32_t generation);
    task<> remove_one(ballot authority, share_removal removal);
    task<placed_ptr> rewrite_without(share_removal removal, placed_ptr old);
    void replace(chunk_id chunk, placed_ptr fresh);
    task<batch_ptr> append_locked(append_request request);
    task<batch_ptr> compare_record(append_request request, stored_record held);

    std::shared_ptr<block_core> core_;
    volume_ptr volume_;
    std::uint64_t reserved_ = 0;  // bytes, part of core_->reserved
};

}  // namespace warifu
