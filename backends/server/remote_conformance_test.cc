// The remote store passes the conformance suite of share stores, over TCP with pads and over a Unix socket.

#include "backends/conformance.h"
#include "backends/server/test_site.h"

namespace warifu {
namespace {

class remote_harness final : public store_harness {
  public:
    explicit remote_harness(bool is_local, unsigned connection_count) {
        pads_.link("a", "b");
        site_ = std::make_unique<test_site>(core_, pads_.end("b"));
        memory_ = std::make_shared<memory_store>(capacity_);
        site_->volumes->stores.emplace(volume_, memory_);
        auto options = remote_options(*site_, volume_, pads_.end("a"), is_local);
        options.connection_count = connection_count;
        store_ = std::make_unique<remote_store>(core_.get_executor(), options);
    }
    ~remote_harness() override {
        store_.reset();
        site_.reset();
        if (core_.stopped()) core_.restart();
        core_.poll();
    }
    asio::io_context& core() override { return core_; }
    share_store& store() override { return *store_; }
    /// The share server dies and comes back; the mount reconnects.
    void reopen() override {
        site_->server.reset();
        memory_->crash();
        while (store_->connected()) step();
        site_->start();
        while (!store_->connected()) step();
    }
    std::uint64_t capacity() override { return capacity_; }

  private:
    void step() {
        if (core_.stopped()) core_.restart();
        core_.run_one();
    }
    static constexpr std::uint64_t capacity_ = 16U << 20U;
    asio::io_context core_;
    memory_pads pads_;
    volume_id volume_ = random_uuid<volume_id>();
    std::unique_ptr<test_site> site_;
    std::shared_ptr<memory_store> memory_;
    std::unique_ptr<remote_store> store_;
};

INSTANTIATE_TEST_SUITE_P(
    remote, share_store_conformance,
    testing::Values(conformance_case{"pads", [] { return std::make_unique<remote_harness>(false, 1); }},
                    conformance_case{"pads_two_connections", [] { return std::make_unique<remote_harness>(false, 2); }},
                    conformance_case{"unix", [] { return std::make_unique<remote_harness>(true, 1); }}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace warifu
