// Control slots, their file, and enrolments.

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

#include "keyd/link/control_store.h"
#include "keyd/link/session.h"
#include "keyd/pool/files.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

struct control_test : testing::Test {
    std::string root = path_fs::temp_directory_path() / ("warifu-control-" + std::to_string(::getpid()) + "-" +
                                                         std::to_string(kernel_random_u64()));
    control_test() {
        for (const char* site : {"a", "b"}) path_fs::create_directories(root + "/" + site);
    }
    ~control_test() override { path_fs::remove_all(root); }
    std::vector<std::string> enrolments(const std::string& out) {
        path_fs::create_directories(root + out);
        auto made = write_enrolments(root + out, "b", "a");
        EXPECT_TRUE(made);
        return *made;
    }
    control_store enrolled(const std::string& own, const std::string& file) {
        const std::string peer = own == "a" ? "b" : "a";
        EXPECT_TRUE(accept_enrolment(root + "/" + own, own, {peer}, file));
        control_store store(root + "/" + own, own, peer);
        EXPECT_FALSE(store.open());
        const auto taken = store.take_enrolment();
        EXPECT_TRUE(taken && *taken);
        return store;
    }
};

TEST_F(control_test, an_enrolment_gives_both_ends_the_same_slots_once) {
    const auto files = enrolments("/out");
    for (const auto& file : files) EXPECT_EQ(path_fs::status(file).permissions(), path_fs::perms(0600));
    auto left = enrolled("a", files[0]);
    auto right = enrolled("b", files[1]);
    EXPECT_FALSE(path_fs::exists(files[0]));
    EXPECT_FALSE(path_fs::exists(left.enrolment_path()));
    EXPECT_EQ(path_fs::status(left.path()).permissions(), path_fs::perms(0600));
    EXPECT_EQ(left.state().slots, right.state().slots);
    EXPECT_EQ(left.state().end(), link_end::caller);
    EXPECT_EQ(right.state().end(), link_end::listener);
    EXPECT_EQ(left.state().hello_count(), control_hello_slots_target);
    EXPECT_EQ(left.state().work_count(), control_work_slots_target);
}

TEST_F(control_test, misused_enrolments_are_refused) {
    const auto files = enrolments("/out");
    const std::string copy = root + "/copy";
    path_fs::copy_file(files[0], copy);
    const auto swapped = accept_enrolment(root + "/b", "b", {"a"}, files[0]);
    ASSERT_FALSE(swapped);
    EXPECT_EQ(swapped.error().code, errc::denied);
    EXPECT_NE(swapped.error().text.find("other end"), std::string::npos);
    EXPECT_EQ(accept_enrolment(root + "/a", "c", {"b"}, files[0]).error().code, errc::denied);
    EXPECT_EQ(accept_enrolment(root + "/a", "a", {"c"}, files[0]).error().code, errc::denied);
    auto left = enrolled("a", files[0]);
    EXPECT_EQ(accept_enrolment(root + "/a", "a", {"b"}, copy).error().code, errc::exists);
    // Put in place by hand it is refused as well, once another one has followed it.
    const auto second = enrolments("/second");
    ASSERT_TRUE(accept_enrolment(root + "/a", "a", {"b"}, second[0]));
    ASSERT_TRUE(*left.take_enrolment());
    path_fs::copy_file(copy, left.enrolment_path());
    const auto again = left.take_enrolment();
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, errc::exists);
    EXPECT_TRUE(path_fs::exists(left.enrolment_path() + ".refused"));
    EXPECT_EQ(write_enrolments(root + "/out", "a", "b").error().code, errc::exists);  // b's is still there
}

TEST_F(control_test, damaged_and_foreign_files_are_refused_by_name) {
    const auto files = enrolments("/out");
    for (const std::uint64_t place : {0U, 9U, 11U, 40U, 5000U}) {
        const std::string bad = root + "/bad";
        path_fs::copy_file(files[0], bad, path_fs::copy_options::overwrite_existing);
        std::fstream file(bad, std::ios::in | std::ios::out | std::ios::binary);
        file.seekg(static_cast<std::streamoff>(place));
        const char old = static_cast<char>(file.get());
        file.seekp(static_cast<std::streamoff>(place));
        file.put(static_cast<char>(old ^ 1));
        file.close();
        const auto refused = accept_enrolment(root + "/a", "a", {"b"}, bad);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().text.find(bad), 0U);
    }
    auto left = enrolled("a", files[0]);
    path_fs::copy_file(left.path(), root + "/b/a.control");
    control_store wrong(root + "/b", "b", "a");
    EXPECT_EQ(wrong.open().error().code, errc::denied);
    path_fs::resize_file(left.path(), path_fs::file_size(left.path()) - 1);
    EXPECT_EQ(left.open().error().code, errc::bad_checksum);
}

TEST_F(control_test, what_is_spent_is_durable_and_a_failed_save_is_final) {
    auto store = enrolled("a", enrolments("/out")[0]);
    ASSERT_TRUE(store.spend(3));
    EXPECT_EQ(store.spend(3).error().code, errc::not_found);
    control_store again(root + "/a", "a", "b");
    ASSERT_TRUE(again.open());
    EXPECT_FALSE(again.state().slots.contains(3));
    EXPECT_TRUE(again.state().slots.contains(4));
    for (const auto step : {save_step::before, save_step::written, save_step::renamed}) {
        store.fault = [step](save_step s) { return s == step; };
        const std::uint64_t slot = 10 + static_cast<std::uint64_t>(step);
        EXPECT_FALSE(store.spend(slot));
        store.fault = {};
        EXPECT_FALSE(store.spend(20)) << "a failed save is final";
        ASSERT_TRUE(store.open());
        EXPECT_EQ(store.state().slots.contains(slot), step != save_step::renamed);
        EXPECT_TRUE(store.state().slots.contains(20));
    }
}

TEST_F(control_test, numbers_are_given_out_once_and_slots_only_one_end_has_are_given_up) {
    auto left = enrolled("a", enrolments("/out")[0]).state();
    const byte_vector two(2 * control_slot_size);
    const auto first = left.next[0];
    EXPECT_TRUE(left.add(link_end::caller, true, first, two));
    EXPECT_EQ(left.add(link_end::caller, true, first + 1, two).error().code, errc::conflict);
    EXPECT_EQ(left.add(link_end::listener, true, first + 2, two).error().code, errc::conflict);
    EXPECT_EQ(left.add(link_end::caller, false, first + 2, two).error().code, errc::conflict);
    EXPECT_TRUE(left.add(link_end::listener, false, first_slot(slot_shelf::work_listener), two));
    link_protocol::facts own{left.runs(false), left.next, 0, 0};
    link_protocol::facts peer = own;
    peer.slots = {{0, 5}, {first, first + 1}};
    peer.next[0] += 100;
    left.join(own, peer);
    EXPECT_EQ(left.slots.size(), 6U);
    EXPECT_EQ(left.next[0], first + 102);
    EXPECT_EQ(left.choose_hello({{3, 9}}), 3U);
    EXPECT_EQ(left.choose_hello({{7, 9}}), std::nullopt);
    EXPECT_EQ(left.lowest_work(left.next), std::nullopt);
    const auto copy = decode_control_state(encode_control_state(left));
    ASSERT_TRUE(copy);
    EXPECT_EQ(*copy, left);
}

TEST_F(control_test, a_slot_is_asked_for_only_when_the_other_end_is_known_to_have_it) {
    const auto files = enrolments("/out");
    auto left = enrolled("a", files[0]).state();
    const auto shared = left.next;
    std::erase_if(left.slots, [](const auto& one) { return !is_hello_slot(one.first); });
    const byte_vector fresh(2 * control_slot_size, std::byte{7});
    ASSERT_TRUE(left.add(link_end::listener, false, first_slot(slot_shelf::work_listener), fresh));
    EXPECT_EQ(left.lowest_work(shared), std::nullopt);
    EXPECT_EQ(left.lowest_work(left.next), first_slot(slot_shelf::work_listener));
    ASSERT_TRUE(left.add(link_end::caller, false, shared[static_cast<std::size_t>(slot_shelf::work_caller)], fresh));
    EXPECT_EQ(left.lowest_work(shared), std::nullopt);
}

TEST_F(control_test, strangers_that_name_single_slots_wait_ever_longer_and_keep_nobody_out) {
    const auto files = enrolments("/out");
    auto store = enrolled("b", files[1]);
    hello_offers offers(5'000);
    deadline now = steady_clock::now();
    const auto one = [](std::uint64_t slot) { return std::vector<slot_run>{{slot, slot + 1}}; };
    std::uint64_t next = 0;
    for (; next < link_offer_burst; ++next) ASSERT_TRUE(offers.pick(store, one(next), now));
    for (const int wait_s : {5, 10, 20, 40, 80, 160, 320, 600, 600}) {
        now += std::chrono::seconds(wait_s) - std::chrono::milliseconds(1);
        EXPECT_EQ(offers.pick(store, one(next), now).error().code, errc::busy) << wait_s;
        EXPECT_TRUE(offers.pick(store, {{0, control_hello_slots_target}}, now)) << "one that is on offer already";
        now += std::chrono::milliseconds(1);
        ASSERT_TRUE(offers.pick(store, one(next++), now)) << wait_s;
    }
    offers.verified();
    EXPECT_TRUE(offers.pick(store, one(next), now));
}

}  // namespace
}  // namespace warifu
