#include "backends/block/block_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "backends/block/test_files.h"
#include "backends/conformance.h"
#include "fs/base/random.h"

namespace warifu {
namespace {

/// A file-backed store. reopen() drops it without a clean stop; what its page-less direct writes did is still there.
class file_harness final : public store_harness {
  public:
    explicit file_harness(std::uint64_t checkpoint_after) {
        options_.path = (folder_.path / "store").string();
        options_.size = size_;
        options_.zero_ahead = size_;
        options_.checkpoint_after = checkpoint_after;
        const auto made = block_store::format(options_);
        EXPECT_TRUE(made) << made.error().message();
        open();
    }
    ~file_harness() override { drop(); }
    asio::io_context& core() override { return core_; }
    share_store& store() override { return *volume_; }
    void reopen() override {
        drop();
        open();
    }
    std::uint64_t capacity() override { return size_; }

  private:
    void open() {
        auto opened = run_task(core_, block_store::open(core_, options_));
        ASSERT_TRUE(opened) << opened.error().message();
        store_ = std::move(*opened);
        volume_ = *store_->open_volume(id_);
    }
    void drop() {
        volume_.reset();
        store_.reset();
        core_.restart();
        core_.run();  // what is under way ends, and lets go of the file
    }

    static constexpr std::uint64_t size_ = 64U << 20U;
    temporary_folder folder_;
    block_store_options options_;
    volume_id id_ = random_uuid<volume_id>();
    asio::io_context core_;
    std::unique_ptr<block_store> store_;
    std::shared_ptr<share_store> volume_;
};

INSTANTIATE_TEST_SUITE_P(
    block, share_store_conformance,
    testing::Values(conformance_case{"file", [] { return std::make_unique<file_harness>(0); }},
                    conformance_case{"many_checkpoints", [] { return std::make_unique<file_harness>(1); }}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace warifu
