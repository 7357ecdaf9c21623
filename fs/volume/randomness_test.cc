// A volume whose shares take their randomness from a supply that can run dry.

#include <future>

#include "fs/volume/volume_test_support.h"
#include "keyd/memory_broker.h"
#include "keyd/random_stock.h"

namespace warifu {
namespace {

using namespace test;

/// Gives what it is told to have, and counts what is drawn. Core thread, but for the numbers.
class rationed_supply final : public random_supply {
  public:
    claim strength() const override { return claim::information_theoretic; }
    task<std::unique_ptr<random_source>> take(std::size_t size, key_use use) override {
        if (size > left) co_return fail(errc::no_key, "random numbers: the ration is eaten");
        left -= size;
        ++(use == key_use::control ? for_records : for_chunks);
        co_return make_drbg();
    }
    std::atomic<std::size_t> left = 0, for_records = 0, for_chunks = 0;
};

struct randomness_test : testing::Test {
    result<writer_of> open(claim pads) {
        volume_options options = sites.options();
        options.takeover = true;
        options.randomness = supply;
        options.pad_claim = pads;
        TRY(auto opened, run_on(core.context, volume::open(core.context, std::move(options))));
        return writer_of(core.context, std::move(opened));
    }
    core_thread core;
    memory_sites sites{core.context, 2, 3};
    std::shared_ptr<rationed_supply> supply = std::make_shared<rationed_supply>();
};

TEST_F(randomness_test, a_volume_is_not_opened_without_randomness) {
    sites.create();
    const auto none = open(claim::information_theoretic);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, errc::no_key);
    EXPECT_NE(none.error().text.find("random numbers"), std::string::npos);
}

TEST_F(randomness_test, the_claim_is_the_weakest_of_pads_and_randomness) {
    sites.create();
    supply->left = 64U << 20U;
    for (const claim pads : {claim::computational, claim::simulated, claim::information_theoretic}) {
        auto writer = open(pads);
        ASSERT_TRUE(writer) << writer.error().message();
        EXPECT_EQ((*writer)->status().strength, pads);
    }
    auto plain = open_writer(sites);
    ASSERT_TRUE(plain);
    EXPECT_EQ((*plain)->status().strength, claim::computational) << "drbg";
}

TEST_F(randomness_test, what_lacks_randomness_waits_says_so_and_goes_on) {
    sites.create();
    supply->left = 64U << 20U;
    auto writer = open(claim::information_theoretic);
    ASSERT_TRUE(writer) << writer.error().message();
    const byte_vector content = pattern(300'000, 1);
    ASSERT_TRUE(writer->write_file("before", content));
    ASSERT_TRUE(writer->commit());
    EXPECT_GT(supply->for_chunks, 0U);
    EXPECT_GT(supply->for_records, 0U);
    supply->left = 0;
    auto late = std::async(std::launch::async, [&] {
        const auto written = writer->write_file("after", content);
        return written ? writer->commit() : written;
    });
    std::string reason;
    for (int i = 0; i < 1000 && reason.empty(); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        reason = (*writer)->status().reason;
    }
    EXPECT_NE(reason.find("the ration is eaten"), std::string::npos) << reason;
    EXPECT_EQ(late.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
    EXPECT_EQ(*writer->read_file("before"), content) << "reading needs none";
    supply->left = 64U << 20U;
    const auto done = late.get();
    EXPECT_TRUE(done) << done.error().message();
    EXPECT_EQ(*writer->read_file("after"), content);
}

TEST_F(randomness_test, a_volume_that_waits_for_randomness_can_be_closed) {
    sites.create();
    supply->left = 64U << 20U;
    auto writer = open(claim::simulated);
    ASSERT_TRUE(writer);
    supply->left = 0;
    auto late = std::async(std::launch::async, [&] { return writer->write_file("never", pattern(1000, 1)); });
    for (int i = 0; i < 1000 && (*writer)->status().reason.empty(); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    (void)run_on(core.context, (*writer)->close());
    EXPECT_EQ(late.get().error().code, errc::cancelled);
}

TEST_F(randomness_test, every_byte_comes_from_the_sites_pool) {
    memory_pads_options pool;
    pool.random_stock = 64U << 20U;
    pool.strength = claim::simulated;
    memory_pads pads(pool);
    const auto stock =
        std::make_shared<random_stock>(core.context.get_executor(), std::shared_ptr<pad_broker>(pads.end("site1")));
    volume_options options = sites.options();
    options.randomness = stock;
    const auto made = run_on(core.context, volume::create(core.context, options));
    ASSERT_TRUE(made) << made.error().message();
    options.takeover = true;
    auto opened = run_on(core.context, volume::open(core.context, options));
    ASSERT_TRUE(opened) << opened.error().message();
    writer_of writer(core.context, std::move(*opened));
    ASSERT_TRUE(writer.write_file("f", pattern(3'000'000, 5)));
    ASSERT_TRUE(writer.commit());
    EXPECT_EQ(*writer.read_file("f"), pattern(3'000'000, 5));
    EXPECT_EQ(writer->status().strength, claim::simulated);
    EXPECT_GE(writer->status().random_bytes, 3'000'000U) << "2 of 3: a random byte for each of the secret's";
}

}  // namespace
}  // namespace warifu
