#include "tools/mount_alarm.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/mount_options.h"

namespace warifu {
namespace {

using names = std::vector<std::string>;

names names_of(const std::vector<alarm_event>& events) {
    names out;
    for (const auto& event : events) out.push_back(event.name + " " + event.about);
    return out;
}

TEST(mount_alarm, tells_each_change_once) {
    alarm_state state(1000);
    alarm_view view;
    view.capacity = 100;
    view.free = 50;
    view.outbound_key = {{"site2", 5000}, {"site3", 10}};
    EXPECT_EQ(names_of(state.step(view)), names{"key_low site3"}) << "what is wrong from the beginning";
    EXPECT_EQ(names_of(state.step(view)), names{});
    view.lost_sites["site2"] = "silent";
    view.outbound_key.erase("site3");  // its keyd does not answer: that says nothing of the key
    EXPECT_EQ(names_of(state.step(view)), names{"site_lost site2"});
    view.lost_sites.clear();
    view.outbound_key["site3"] = 2000;
    view.free = 4;
    EXPECT_EQ(names_of(state.step(view)), (names{"site_back site2", "key_enough site3", "space_low -"}));
    view.writable = false;
    view.reason = "the head is disputed";
    view.stuck = true;
    const auto events = state.step(view);
    EXPECT_EQ(names_of(events), (names{"read_only -", "stuck -"}));
    EXPECT_EQ(events[0].text, "the head is disputed");
    view = {};
    EXPECT_EQ(names_of(state.step(view)), (names{"writable -", "moving -"})) << "an unknown capacity is not low";
}

std::string text_of(const std::filesystem::path& file) {
    std::ifstream in(file);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
}

TEST(mount_alarm, runs_the_program_in_order) {
    std::string made = (std::filesystem::temp_directory_path() / "warifu_alarm_XXXXXX").string();
    ASSERT_NE(::mkdtemp(made.data()), nullptr);
    const std::filesystem::path folder = made;
    std::ofstream(folder / "program") << "#!/bin/sh\nprintf '%s|' \"$@\" >>" << (folder / "log").string() << "\n";
    ASSERT_EQ(::chmod((folder / "program").c_str(), 0755), 0);
    {
        alarm_runner runner((folder / "program").string());
        runner.tell({"site_lost", "site2", "it is 'silent'; $HOME"});
        runner.tell({"site_back", "site2", ""});
        const std::string wanted = "site_lost|site2|it is 'silent'; $HOME|site_back|site2||";
        for (int i = 0; i < 1000 && text_of(folder / "log") != wanted; ++i) ::usleep(20'000);
        EXPECT_EQ(text_of(folder / "log"), wanted);
    }
    {
        alarm_runner nothing((folder / "missing").string());
        nothing.tell({"a", "b", "c"});
    }
    std::filesystem::remove_all(folder);
}

TEST(mount_options, words_of_fstab_and_values) {
    const auto parsed = parse_mount_options({"defaults,rw,_netdev,nofail,x-systemd.automount,X-mount.mkdir,comment=a",
                                             "sync_close,uidmap=0:100000:10,uidmap=20:5:1,gidmap=0:7:1,memory=1G,"
                                             "alarm=/usr/local/bin/page,alarm_key=5M,nosuid,default_permissions"});
    ASSERT_TRUE(parsed.has_value()) << parsed.error().text;
    EXPECT_TRUE(parsed->sync_close);
    EXPECT_FALSE(parsed->read_only);
    EXPECT_EQ(parsed->users.to_local(3), 100003U);
    EXPECT_EQ(parsed->users.to_local(20), 5U);
    EXPECT_EQ(parsed->groups.to_stored(7), 0U);
    EXPECT_EQ(parsed->memory_size, 1U << 30U);
    EXPECT_EQ(parsed->alarm, "/usr/local/bin/page");
    EXPECT_EQ(parsed->alarm_key, 5U << 20U);
    EXPECT_EQ(parsed->pass_on, std::vector<std::string>{"nosuid"});
    for (const char* bad : {"nonsense", "uidmap=1:2", "uidmap=0:0:5,uidmap=4:9:1", "memory=lots", "alarm=relative",
                            "remount", "uid=5", "uidmap"}) {
        const auto refused = parse_mount_options({bad});
        ASSERT_FALSE(refused.has_value()) << bad;
        EXPECT_EQ(refused.error().code, errc::bad_argument);
        EXPECT_NE(refused.error().text.find("mount option '"), std::string::npos) << refused.error().text;
    }
}

}  // namespace
}  // namespace warifu
