#include "keyd/audit.h"

#include <algorithm>

#include "keyd/pool/test_support.h"

namespace warifu {
namespace {

constexpr std::uint64_t audited_block_size = 256U << 10U;

struct audit_test : testing::Test {
    audit_report audit() { return audit_stores({ends.directory / "a", ends.directory / "b"}); }
    bool has(const audit_report& report, bool finding, const std::string& text) {
        return std::ranges::any_of(report.entries, [&](const auto& entry) {
            return entry.finding == finding && entry.text.find(text) != std::string::npos;
        });
    }
    /// A window used by both ends up to `used`.
    pad_range use(std::uint64_t size, std::uint64_t used) {
        const auto window = ends.a->claim_send(ab, random_uuid<session_id>(), size, size, key_use::bulk);
        EXPECT_TRUE(window);
        EXPECT_TRUE(ends.b->claim_receive(ab, random_uuid<session_id>(), *window));
        EXPECT_TRUE(ends.a->release(ab, *window, window->offset + used));
        EXPECT_TRUE(ends.b->release(ab, *window, window->offset + used));
        return *window;
    }
    void erase() {
        EXPECT_TRUE(ends.a->erase_now());
        EXPECT_TRUE(ends.b->erase_now());
    }
    /// Appends records to a ledger behind the pool's back.
    void forge(std::unique_ptr<pool>& end, const std::vector<ledger_record>& records) {
        const auto directory = end->options().directory;
        const auto site = end->options().site;
        end.reset();
        auto opened = ledger::open(directory, site);
        ASSERT_TRUE(opened);
        for (const auto& record : records) ASSERT_TRUE(opened->log.append(record));
        ASSERT_TRUE(opened->log.sync());
    }
    std::string file_of(const std::string& site, const block_header& block) {
        return ends.directory / (site + "/blocks/" + to_text(block.id) + ".pad");
    }
    two_ends ends;
};

TEST_F(audit_test, ordinary_use_is_clean) {
    ends.deliver(ab, 0, audited_block_size);
    ends.deliver(ba, 0, audited_block_size);
    use(10'000, 10'000);
    use(10'000, 2'000);
    use(10'000, 0);
    ASSERT_TRUE(ends.a->take_hello_slot(ab));
    const auto open = ends.a->claim_send(ab, {}, 5'000, 5'000, key_use::bulk);
    ASSERT_TRUE(ends.b->claim_receive(ab, {}, *open));
    ASSERT_TRUE(ends.b->burn(ab, *open));
    ASSERT_TRUE(ends.a->release(ab, *open, open->offset + 10));
    erase();
    auto report = audit();
    EXPECT_EQ(report.findings(), 0U) << report.entries.front().text;
    EXPECT_TRUE(has(report, false, "released here, but burnt at the receiver"));
    ASSERT_EQ(report.stores.size(), 2U);
    EXPECT_TRUE(report.stores[0].running);
    EXPECT_EQ(report.stores[0].handouts, 4U);
    ends.reopen_a();
    ends.a.reset();
    ends.b.reset();
    report = audit();
    EXPECT_EQ(report.findings(), 0U);
    EXPECT_FALSE(report.stores[0].running);
}

TEST_F(audit_test, finds_a_byte_handed_out_twice) {
    ends.deliver(ab, 0, audited_block_size);
    const auto window = use(10'000, 10'000);
    erase();
    const pad_range again{window.offset + 9'000, 2'000};
    const window_spent twice{0, again, random_uuid<session_id>(), key_use::bulk, 0};
    forge(ends.a, {window_history{twice, again.end(), false}});
    auto report = audit();
    EXPECT_TRUE(has(report, true, "handed out to two sessions"));
    EXPECT_EQ(report.entries[0].range.offset, again.offset);
    EXPECT_EQ(report.entries[0].site, "a");
    forge(ends.b, {twice});
    report = audit();
    EXPECT_TRUE(has(report, true, "spent bytes were handed out"));
    pool_options options;
    options.directory = ends.directory / "b";
    options.site = "b";
    const auto opened = pool::open(std::move(options));
    ASSERT_FALSE(opened) << "no keyd runs on such a ledger";
    EXPECT_EQ(opened.error().code, errc::bad_format);
    EXPECT_NE(opened.error().text.find("contradicts itself"), std::string::npos);
}

TEST_F(audit_test, finds_a_block_imported_twice) {
    const auto block = ends.deliver(ab, 0, audited_block_size);
    forge(ends.a, {block_imported{0, block, 0}});
    EXPECT_TRUE(has(audit(), true, "imported twice"));
}

TEST_F(audit_test, finds_the_same_bytes_at_both_ends_as_senders) {
    const auto block = ends.deliver(ab, 0, audited_block_size);
    auto swapped = block;
    swapped.id = random_uuid<block_id>();
    swapped.stream = ba;
    forge(ends.b, {stream_added{1, ba}, block_imported{1, swapped, 0}});
    EXPECT_EQ(audit().findings(), 0U);
    ends.b = open_pool(ends.directory / "b", "b");  // drops the block: it has no file
    auto same = block;
    same.stream = ba;
    same.range.offset = 1U << 20U;
    ends.b.reset();
    std::filesystem::remove(ends.directory / "b/ledger");
    auto opened = ledger::open(ends.directory / "b", "b");
    ASSERT_TRUE(opened->log.append(stream_added{0, ba}));
    ASSERT_TRUE(opened->log.append(block_imported{0, same, 0}));
    ASSERT_TRUE(opened->log.sync());
    EXPECT_TRUE(has(audit(), true, "may be sent from both ends"));
}

TEST_F(audit_test, finds_a_sender_that_was_restored_from_an_old_copy) {
    ends.deliver(ab, 0, audited_block_size);
    use(10'000, 10'000);
    erase();
    ends.a.reset();
    std::filesystem::copy(ends.directory / "a", ends.directory / "copy", std::filesystem::copy_options::recursive);
    ends.a = open_pool(ends.directory / "a", "a");
    const auto window = use(20'000, 20'000);
    erase();
    ends.a.reset();
    std::filesystem::remove_all(ends.directory / "a");
    std::filesystem::rename(ends.directory / "copy", ends.directory / "a");
    const auto report = audit();
    ASSERT_TRUE(has(report, true, "has forgotten it"));
    EXPECT_EQ(report.findings(), 1U);
    EXPECT_EQ(report.entries[0].range, window);
    // The refusal heals it: afterwards both ends know.
    ends.a = open_pool(ends.directory / "a", "a");
    const auto again = ends.a->claim_send(ab, {}, 1'000, 1'000, key_use::bulk);
    ASSERT_FALSE(ends.b->claim_receive(ab, {}, *again));
    ASSERT_TRUE(ends.a->skip_to(ab, *ends.b->next_free(ab, again->offset)));
    ASSERT_TRUE(ends.a->release(ab, *again, again->offset));
    erase();
    EXPECT_EQ(audit().findings(), 0U);
}

TEST_F(audit_test, finds_spent_bytes_that_are_still_there) {
    const auto block = ends.deliver(ab, 0, audited_block_size);
    const auto window = use(10'000, 10'000);
    const auto before = read_all(file_of("a", block));
    ends.a.reset();
    auto report = audit_stores({ends.directory / "a"});
    EXPECT_EQ(report.findings(), 0U) << "keyd was stopped before it could erase: it will when it starts";
    EXPECT_TRUE(has(report, false, "erased when keyd starts"));
    ends.a = open_pool(ends.directory / "a", "a");
    ASSERT_TRUE(ends.a->erase_now());
    EXPECT_TRUE(audit_stores({ends.directory / "a"}).entries.empty());
    write_all(file_of("a", block), before);  // somebody puts the old file back
    report = audit_stores({ends.directory / "a"});
    ASSERT_EQ(report.findings(), 1U);
    EXPECT_EQ(report.entries[0].range, (pad_range{window.offset, 10'000}));
    EXPECT_NE(report.entries[0].text.find("still in"), std::string::npos);
}

TEST_F(audit_test, names_what_it_cannot_read) {
    write_all(ends.directory / "a/ledger", byte_vector(500, std::byte{7}));
    const auto report = audit_stores({ends.directory / "a", ends.directory / "none"});
    ASSERT_EQ(report.unreadable.size(), 2U);
    EXPECT_NE(report.unreadable[0].find(ends.directory / "a/ledger"), std::string::npos);
    EXPECT_NE(report.unreadable[1].find("none"), std::string::npos);
}

}  // namespace
}  // namespace warifu
