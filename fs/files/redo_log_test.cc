#include "fs/files/redo_log.h"

#include <gtest/gtest.h>
#include <random>
#include <unistd.h>

namespace warifu {
namespace {

class redo_log_test : public ::testing::Test {
  protected:
    redo_log_test() {
        auto made = redo_log::make_memory(ring);
        EXPECT_TRUE(made.has_value());
        fd_ = *made;
    }
    ~redo_log_test() override {
        redo_log::work_on(0);
        ::close(fd_);
    }
    std::unique_ptr<redo_log> open() {
        auto log = redo_log::open(fd_);
        EXPECT_TRUE(log.has_value());
        return std::move(*log);
    }
    static redo_operation name(std::uint64_t sequence, inode_number number = 7) {
        redo_operation made;
        made.kind = redo_kind::unlink;
        made.number = number;
        made.sequence = sequence;
        return made;
    }
    static redo_operation bytes(const std::string& text, std::uint64_t offset = 0, inode_number number = 7) {
        redo_operation made;
        made.kind = redo_kind::write;
        made.number = number;
        made.a = offset;
        made.b = text.size();
        made.payload = as_bytes_view(text);
        return made;
    }
    using list = std::vector<std::string>;
    /// What is to be done again: "KIND NUMBER OFFSET BYTES".
    static list to_do(redo_log& log) {
        list found;
        EXPECT_TRUE(log.for_each_to_do([&](redo_log::position, const redo_operation& one) -> result<void> {
                           found.push_back(std::to_string(static_cast<unsigned>(one.kind)) + " " +
                                           std::to_string(one.number) + " " + std::to_string(one.a) + " " +
                                           std::string(as_text(one.payload).substr(0, 8)));
                           return {};
                       })
                        .has_value());
        return found;
    }

    static constexpr std::size_t ring = redo_size_min;
    int fd_ = -1;
};

TEST_F(redo_log_test, a_second_daemon_does_what_no_commit_took) {
    {
        const auto first = open();
        EXPECT_EQ(first->starts(), 1U);
        ASSERT_TRUE(first->prepare(10).has_value());
        EXPECT_TRUE(first->append(name(11)));
        EXPECT_TRUE(first->append(name(12, 8)));
        first->captured(11);
        first->durable(11);
    }
    const auto second = open();
    EXPECT_EQ(second->starts(), 2U);
    ASSERT_TRUE(second->prepare(11).has_value());
    EXPECT_EQ(to_do(*second), (list{"4 8 0 "}));
}

TEST_F(redo_log_test, a_commit_that_was_under_way_may_be_there_or_not) {
    for (const std::uint64_t found : {11U, 12U}) {
        SCOPED_TRACE(found);
        const int other = *redo_log::make_memory(ring);
        {
            const auto first = std::move(*redo_log::open(other));
            ASSERT_TRUE(first->prepare(10).has_value());
            first->append(name(11));
            first->durable(11);
            first->append(name(12, 8));
            first->captured(12);
            first->append(name(13, 9));
        }
        const auto second = std::move(*redo_log::open(other));
        ASSERT_TRUE(second->prepare(found).has_value());
        EXPECT_EQ(to_do(*second), found == 12 ? (list{"4 9 0 "}) : (list{"4 8 0 ", "4 9 0 "}));
        ::close(other);
    }
    const auto first = open();
    ASSERT_TRUE(first->prepare(10).has_value());
    const auto second = open();
    EXPECT_EQ(second->prepare(15).error().code, errc::conflict) << "no state that a crash leaves";
}

TEST_F(redo_log_test, what_followed_a_write_to_its_file_is_done_again_in_order) {
    {
        const auto first = open();
        ASSERT_TRUE(first->prepare(10).has_value());
        first->append(bytes("early", 0, 7));
        auto sized = name(11, 7);
        sized.kind = redo_kind::set_attributes;
        first->append(sized);
        auto other = name(12, 8);
        other.kind = redo_kind::set_attributes;
        first->append(other);
        first->append(name(13, 7));
        const auto late = first->append(bytes("late", 3, 7));
        first->set_sequence(*late, 14);
        first->captured(14);
        first->durable(14);
    }
    const auto second = open();
    ASSERT_TRUE(second->prepare(14).has_value());
    EXPECT_EQ(to_do(*second), (list{"10 7 0 early", "7 7 0 ", "10 7 3 late"}));
}

TEST_F(redo_log_test, outcomes_are_known_until_they_were_told) {
    {
        const auto first = open();
        ASSERT_TRUE(first->prepare(10).has_value());
        for (const std::uint64_t request : {2U, 4U, 6U}) {
            redo_log::work_on(request);
            EXPECT_FALSE(first->done_before());
            first->append(name(10 + request, request));
            EXPECT_FALSE(first->done_before()) << "only an earlier daemon's";
        }
        const std::string text = "end";
        auto end = bytes(text);
        end.flags = redo_appends;
        redo_log::work_on(8);
        first->append(end);
        redo_log::work_on(10);
        first->append(bytes("place"));
        first->answered(4);
        first->captured(12);
        first->durable(12);  // the entry of request 2 leaves the ring
    }
    const auto second = open();
    ASSERT_TRUE(second->prepare(12).has_value());
    const struct {
        std::uint64_t request;
        bool done;
    } table[] = {{2, true}, {4, false}, {6, true}, {8, true}, {10, false}, {12, false}};
    for (const auto& row : table) {
        redo_log::work_on(row.request);
        EXPECT_EQ(second->done_before().has_value(), row.done) << row.request;
    }
    redo_log::work_on(8);
    EXPECT_EQ(second->done_before()->size, 3U);
    second->answered(8);
    EXPECT_FALSE(second->done_before());
    const auto third = open();
    EXPECT_FALSE(third->done_before()) << "told by the second";
}

TEST_F(redo_log_test, writes_wait_for_room_and_names_make_it_incomplete) {
    const auto log = open();
    ASSERT_TRUE(log->prepare(1).has_value());
    const std::string text(1U << 20U, 'x');
    std::uint64_t sequence = 1;
    while (log->has_room(text.size())) log->set_sequence(*log->append(bytes(text)), ++sequence);
    EXPECT_GT(log->used(), ring - redo_margin - 2 * text.size());
    while (log->append(name(++sequence))) {
    }
    EXPECT_FALSE(log->is_complete());
    {
        const auto after_crash = open();
        EXPECT_EQ(after_crash->prepare(1).error().code, errc::too_large);
    }
    log->durable(sequence - 1);
    EXPECT_FALSE(log->is_complete());
    log->durable(sequence);
    EXPECT_TRUE(log->is_complete());
    EXPECT_EQ(log->used(), 0U);
}

/// Many times round the ring; what is left is always what was not durable.
TEST_F(redo_log_test, goes_round) {
    std::mt19937_64 random(3);
    auto log = open();
    ASSERT_TRUE(log->prepare(0).has_value());
    std::uint64_t sequence = 0, committed = 0;
    std::string text(3U << 20U, 'y');
    for (int i = 0; i < 400; ++i) {
        const auto size = static_cast<std::size_t>(random() % text.size());
        const auto at = log->append(bytes(text.substr(0, size), 0, ++sequence));
        ASSERT_TRUE(at.has_value()) << i;
        log->set_sequence(*at, sequence);
        if (random() % 3 != 0 && log->has_room(text.size())) continue;
        committed = sequence - random() % 2;
        log->captured(committed);
        log->durable(committed);
        if (random() % 8 != 0) continue;
        log = open();
        ASSERT_TRUE(log->prepare(committed).has_value());
        EXPECT_EQ(to_do(*log).size(), sequence - committed);
        sequence = committed;  // the writer of this test gives up what is left
        ASSERT_TRUE(log->for_each_to_do([&](redo_log::position where, const redo_operation&) -> result<void> {
                           log->set_sequence(where, redo_void);
                           return {};
                       })
                        .has_value());
    }
}

}  // namespace
}  // namespace warifu
