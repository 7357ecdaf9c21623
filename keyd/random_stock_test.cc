#include "keyd/random_stock.h"

#include <gtest/gtest.h>
#include <set>

#include "keyd/memory_broker.h"

namespace warifu {
namespace {

struct random_stock_test : testing::Test {
    void make(std::uint64_t pool_size, std::uint32_t wait_ms = 10) {
        memory_pads_options pool;
        pool.random_stock = pool_size;
        pool.strength = claim::information_theoretic;
        pads = std::make_unique<memory_pads>(pool);
        random_stock_options options;
        options.fetch_size = 1000;
        options.small_fetch_size = 100;
        options.control_reserve = 200;
        options.wait_ms = wait_ms;
        stock = std::make_shared<random_stock>(core.get_executor(), pads->end("a"), options);
    }
    result<std::unique_ptr<random_source>> take(std::size_t size, key_use use = key_use::bulk) {
        auto done = asio::co_spawn(core, stock->take(size, use), asio::use_future);
        core.restart();
        core.run();
        return done.get();
    }
    asio::io_context core;
    std::unique_ptr<memory_pads> pads;
    std::shared_ptr<random_stock> stock;
};

TEST_F(random_stock_test, gives_each_byte_once) {
    make(1U << 20U);
    std::set<byte_vector> seen;
    for (int i = 0; i < 200; ++i) {
        const auto source = take(3000);  // more than one fetch, not a multiple of one
        ASSERT_TRUE(source) << source.error().message();
        EXPECT_EQ((*source)->strength(), claim::information_theoretic);
        ASSERT_TRUE((*source)->begin_chunk());
        for (const std::size_t size : {16U, 984U, 2000U}) {
            byte_vector bytes(size);
            ASSERT_TRUE((*source)->fill(bytes));
            bytes.resize(16);
            EXPECT_TRUE(seen.insert(bytes).second);
        }
        byte_vector more(1);
        EXPECT_EQ((*source)->fill(more).error().code, errc::no_key) << "it has what was taken and nothing else";
    }
}

TEST_F(random_stock_test, bulk_leaves_a_reserve_to_control) {
    make(1000);
    EXPECT_TRUE(take(800));
    EXPECT_EQ(take(1).error().code, errc::no_key);
    EXPECT_EQ(stock->left(), 200U);
    EXPECT_TRUE(take(200, key_use::control));
    EXPECT_EQ(take(1, key_use::control).error().code, errc::no_key);
}

TEST_F(random_stock_test, the_last_bytes_of_a_pool_are_of_use) {
    make(1250);
    EXPECT_TRUE(take(800));
    EXPECT_TRUE(take(250)) << "less than the usual fetch is left";
    EXPECT_EQ(stock->left(), 200U);
}

TEST_F(random_stock_test, errors_say_what_is_missing) {
    make(0);
    const auto none = take(16, key_use::control);
    EXPECT_EQ(none.error().code, errc::no_key);
    EXPECT_NE(none.error().text.find("random numbers"), std::string::npos) << none.error().text;
    pads->set_down("a", true);
    EXPECT_EQ(take(16).error().code, errc::unreachable);
}

TEST_F(random_stock_test, waits_for_a_keyd_that_is_away) {
    make(1000, 0);
    pads->set_down("a", true);
    EXPECT_FALSE(take(10));
    pads->set_down("a", false);
    EXPECT_TRUE(take(10));
}

TEST(drbg_supply, never_runs_out_and_claims_no_more_than_it_is) {
    asio::io_context core;
    drbg_supply supply;
    auto done = asio::co_spawn(core, supply.take(1, key_use::bulk), asio::use_future);
    core.run();
    const auto source = done.get();
    ASSERT_TRUE(source);
    EXPECT_EQ((*source)->strength(), claim::computational);
    byte_vector bytes(100'000);
    EXPECT_TRUE((*source)->fill(bytes));
}

}  // namespace
}  // namespace warifu
