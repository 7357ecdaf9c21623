#include "backends/memory/memory_store.h"

#include "backends/conformance.h"
#include "backends/memory/faulty_store.h"

namespace warifu {
namespace {

class memory_harness final : public store_harness {
  public:
    asio::io_context& core() override { return core_; }
    share_store& store() override { return store_; }
    void reopen() override { store_.crash(); }
    std::uint64_t capacity() override { return capacity_; }

  private:
    static constexpr std::uint64_t capacity_ = 16U << 20U;
    asio::io_context core_;
    memory_store store_{capacity_};
};

/// The decorator without any fault must not change anything.
class decorated_harness final : public store_harness {
  public:
    asio::io_context& core() override { return core_; }
    share_store& store() override { return faulty_; }
    void reopen() override { memory_->crash(); }

  private:
    asio::io_context core_;
    std::shared_ptr<memory_store> memory_ = std::make_shared<memory_store>();
    faulty_store faulty_{core_.get_executor(), memory_};
};

INSTANTIATE_TEST_SUITE_P(
    memory, share_store_conformance,
    testing::Values(conformance_case{"memory", [] { return std::make_unique<memory_harness>(); }},
                    conformance_case{"decorated", [] { return std::make_unique<decorated_harness>(); }}),
    [](const auto& info) { return info.param.name; });

constexpr ballot writer{1, 1};

share_put small_share(std::uint64_t sequence) {
    share_put out;
    out.chunk = chunk_id{writer, sequence};
    out.authority = writer;
    out.pieces.emplace_back(buffer::zeroed(64));
    return out;
}

TEST(memory_store, crash_loses_what_nothing_covered) {
    asio::io_context core;
    memory_store store;
    ASSERT_TRUE(run_task(core, store.promise(writer)));
    ASSERT_TRUE(run_task(core, store.put(small_share(1))));
    ASSERT_TRUE(run_task(core, store.sync()));
    ASSERT_TRUE(run_task(core, store.put(small_share(2))));
    share_removal gone;
    gone.chunk = chunk_id{writer, 1};
    ASSERT_TRUE(run_task(core, store.remove(writer, std::vector{gone})));
    memory_store twin(store.durable());
    store.crash();
    for (memory_store* one : {&store, &twin})
        EXPECT_EQ(*run_task(core, one->list(chunk_id(), 9)), (std::vector{chunk_id{writer, 1}}));
    EXPECT_EQ(run_task(core, twin.state())->incarnation, run_task(core, store.state())->incarnation);
}

struct faulty_fixture {
    asio::io_context core;
    std::shared_ptr<memory_store> memory = std::make_shared<memory_store>();
    faulty_store store{core.get_executor(), memory};

    faulty_fixture() {
        EXPECT_TRUE(run_task(core, store.promise(writer)));
        EXPECT_TRUE(run_task(core, store.put(small_share(1))));
    }
    result<std::vector<slice>> read() {
        share_range all;
        all.size = 64;
        return run_task(core, store.get(chunk_id{writer, 1}, std::vector{all}));
    }
};

TEST(faulty_store, unreachable_and_countdown) {
    faulty_fixture t;
    t.store.unreachable = true;
    EXPECT_EQ(t.read().error().code, errc::unreachable);
    t.store.unreachable = false;
    t.store.calls_left = 2;
    EXPECT_TRUE(t.read());
    EXPECT_TRUE(t.read());
    EXPECT_EQ(t.read().error().code, errc::unreachable);
}

TEST(faulty_store, lost_answer_is_done_all_the_same) {
    faulty_fixture t;
    t.store.lose_answers = 1;
    EXPECT_EQ(run_task(t.core, t.store.put(small_share(2))).error().code, errc::unreachable);
    EXPECT_TRUE(run_task(t.core, t.store.describe(chunk_id{writer, 2})));
}

TEST(faulty_store, lies_and_media_errors) {
    faulty_fixture t;
    const auto good = t.read();
    t.store.lying_chunks.insert(chunk_id{writer, 1});
    const auto lie = t.read();
    ASSERT_TRUE(good && lie);
    EXPECT_FALSE(std::ranges::equal((*good)[0].view(), (*lie)[0].view()));
    t.store.damaged_chunks.insert(chunk_id{writer, 1});
    EXPECT_EQ(t.read().error().code, errc::bad_checksum);
}

TEST(faulty_store, hung_call_goes_on_after_release) {
    faulty_fixture t;
    t.store.hang();
    asio::steady_timer timer(t.core, std::chrono::milliseconds(5));
    timer.async_wait([&t](boost::system::error_code) { t.store.release(); });
    EXPECT_TRUE(t.read());
}

}  // namespace
}  // namespace warifu
