#include "keyd/link/witness.h"

#include <gtest/gtest.h>

#include "keyd/pool/test_support.h"

namespace warifu {
namespace {

ledger_id ledger(std::uint8_t number) {
    ledger_id id;
    id.bytes.fill(std::byte{number});
    return id;
}

struct witness_test : testing::Test {
    temporary_directory directory;
    std::string file = directory / "peer.witness";
    link_witness witness = link_witness::open(file);
    deadline now = steady_clock::now();
    void hear(std::uint8_t id, std::uint64_t run, std::uint64_t sequence) {
        ASSERT_TRUE(witness.heard({ledger(id), run, sequence}, now));
    }
};

TEST_F(witness_test, earlier_runs_are_what_a_ledger_must_not_be_behind) {
    EXPECT_EQ(witness.before(ledger(1)), 0U);
    hear(1, 10, 100);
    EXPECT_EQ(witness.before(ledger(1)), 0U) << "nothing is known of the runs before the first";
    hear(1, 10, 250);
    hear(1, 20, 260);
    EXPECT_EQ(witness.before(ledger(1)), 250U);
    hear(1, 30, 120);  // an old copy: it tells less than was heard
    EXPECT_EQ(witness.before(ledger(1)), 260U);
    hear(1, 30, 900);
    EXPECT_EQ(witness.before(ledger(1)), 260U) << "however far it goes on, it began behind";
    hear(1, 40, 50);
    EXPECT_EQ(witness.before(ledger(1)), 900U);
}

TEST_F(witness_test, remembers_over_a_restart_and_for_each_ledger) {
    hear(1, 10, 100);
    hear(2, 11, 5);
    hear(1, 12, 130);
    const auto again = link_witness::open(file);
    EXPECT_EQ(again.last_error(), "");
    EXPECT_EQ(again.ledgers(), witness.ledgers());
    EXPECT_EQ(again.last(), ledger(1));
    EXPECT_EQ(again.before(ledger(1)), 100U);
    for (std::uint8_t i = 10; i < 10 + witnessed_ledgers_max; ++i) hear(i, 1, 1);
    EXPECT_EQ(witness.ledgers().size(), witnessed_ledgers_max);
    EXPECT_EQ(witness.before(ledger(1)), 0U) << "bounded: the oldest goes";
}

TEST_F(witness_test, writes_at_once_when_a_run_begins_and_seldom_in_it) {
    hear(1, 10, 100);
    hear(1, 10, 101);
    EXPECT_EQ(link_witness::open(file).ledgers().back().sequence, 100U);
    now += std::chrono::milliseconds(witness_interval_ms);
    hear(1, 10, 102);
    EXPECT_EQ(link_witness::open(file).ledgers().back().sequence, 102U);
}

TEST_F(witness_test, damage_is_told_and_forgets) {
    hear(1, 10, 100);
    auto bytes = read_all(file);
    EXPECT_EQ(bytes.size(), 8U + 2 + 2 + 40 + 4);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        auto damaged = bytes;
        damaged[i] ^= std::byte{1};
        EXPECT_FALSE(decode_witness(damaged)) << i;
        EXPECT_FALSE(decode_witness(bytes_view(bytes).first(i))) << i;
    }
    bytes[20] ^= std::byte{1};
    write_all(file, bytes);
    auto forgetful = link_witness::open(file);
    EXPECT_NE(forgetful.last_error(), "");
    EXPECT_TRUE(forgetful.ledgers().empty());
    EXPECT_TRUE(forgetful.heard({ledger(1), 20, 110}, now));
    EXPECT_EQ(forgetful.last_error(), "");
}

}  // namespace
}  // namespace warifu
