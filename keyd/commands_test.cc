#include "keyd/commands.h"

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>
#include <sstream>
#include <thread>

#include "keyd/daemon/keyd.h"
#include "keyd/pool/test_support.h"

namespace warifu {
namespace {

constexpr std::uint64_t block_size = 256U << 10U;

struct commands_test : testing::Test {
    commands_test() {
        spdlog::set_level(spdlog::level::critical);
        for (const std::string site : {"a", "b"}) {
            keyd_options options;
            options.site = site;
            options.directory = directory / site;
            options.control_reserve = 0;
            options.poll_ms = 5;
            auto started = keyd::start(core.get_executor(), options);
            EXPECT_TRUE(started);
            daemons.push_back(*started);
        }
        server = std::jthread([this] { core.run(); });
    }
    ~commands_test() override {
        run_on(core, [this]() -> awaitable<void> {
            for (const auto& daemon : daemons) co_await daemon->stop();
        });
        core.stop();
        server.join();
    }
    std::string socket(const std::string& site) { return directory / (site + "/keyd.sock"); }
    nlohmann::json status(const std::string& site) {
        std::ostringstream json, errors;
        EXPECT_EQ(key_status({socket(site)}, true, json, errors), key_exit_good) << errors.str();
        return nlohmann::json::parse(json.str())[0];
    }
    /// Waits until a keyd has imported so many blocks.
    bool imports(const std::string& site, int count) {
        for (int i = 0; i < 1000; ++i) {
            if (status(site)["imports"] == count) return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        return false;
    }

    temporary_directory directory;
    asio::io_context core{1};
    std::vector<std::shared_ptr<keyd>> daemons;
    std::jthread server;
    std::ostringstream out, err;
};

TEST_F(commands_test, status_shows_streams_rates_and_alarms_and_can_be_watched) {
    write_block(make_block(ab, 0, block_size), {directory / "a/incoming"});
    ASSERT_TRUE(imports("a", 1));
    const auto text = status("a");
    EXPECT_GT(text["streams"][0]["rate_in_bytes_per_s"], 0.0);
    EXPECT_EQ(text["streams"][0]["time_to_empty_s"], nullptr) << "nothing is taken out";
    EXPECT_GT(text["streams"][0]["time_to_full_s"], 0.0);
    EXPECT_EQ(text["streams"][0]["writable_bytes"], static_cast<std::uint64_t>((block_size - 4096) / 1.01));
    EXPECT_NE(text["alarms"].dump().find("a -> b: 42 greetings are left"), std::string::npos) << text["alarms"].dump();
    int pages = 2;
    EXPECT_EQ(key_watch({socket("a")}, std::chrono::milliseconds(1), [&] { return pages-- > 0; }, out, err),
              key_exit_good);
    const auto page = out.str();
    EXPECT_EQ(page.find("\x1b[H"), 0U);
    EXPECT_NE(page.find("252.0 KiB"), std::string::npos) << page;
    EXPECT_NE(page.find("ALARM: a -> b: 42 greetings"), std::string::npos) << page;
    EXPECT_NE(page.rfind("\x1b[H"), 0U) << "a second page";
    pages = 1;
    EXPECT_EQ(key_watch({directory / "none"}, std::chrono::milliseconds(1), [&] { return pages-- > 0; }, out, err),
              key_exit_unreadable);
}

TEST_F(commands_test, a_courier_brings_key_to_both_ends) {
    key_deal_options deal;
    deal.from = "a";
    deal.to = "b";
    deal.out_from = directory / "for_a";
    deal.out_to = directory / "for_b";
    deal.size = block_size;
    deal.count = 3;
    ASSERT_EQ(key_deal(deal, out, err), key_exit_good) << err.str();
    for (const std::string site : {"a", "b"}) {
        std::vector<std::string> files;
        for (const auto& entry : std::filesystem::directory_iterator(directory / ("for_" + site)))
            files.push_back(entry.path());
        EXPECT_EQ(files.size(), 3U);
        const std::string where = site == "a" ? socket(site) : directory / site;
        EXPECT_EQ(key_import(where, files, out, err), key_exit_good) << err.str();
        EXPECT_TRUE(imports(site, 3));
    }
    const auto at_a = status("a");
    EXPECT_EQ(at_a["streams"][0]["available_bytes"], 3 * (block_size - 4096));
    EXPECT_EQ(at_a["streams"][0]["end_offset"], 3 * block_size);

    std::ostringstream table;
    EXPECT_EQ(key_status({socket("a"), socket("b")}, false, table, err), key_exit_good);
    EXPECT_NE(table.str().find("756.0 KiB"), std::string::npos) << table.str();
    EXPECT_EQ(key_audit({directory / "a", directory / "b"}, false, out, err), key_exit_good) << out.str();
    EXPECT_NE(out.str().find("clean"), std::string::npos);
}

TEST_F(commands_test, bad_input_gets_one_line_and_an_exit_code) {
    key_deal_options deal;
    deal.from = "a";
    deal.to = "b";
    deal.out_from = directory / "x";
    deal.out_to = directory / "y";
    deal.size = 1000;
    EXPECT_EQ(key_deal(deal, out, err), key_exit_findings);
    EXPECT_TRUE(std::filesystem::is_empty(directory / "x"));
    EXPECT_EQ(std::ranges::count(err.str(), '\n'), 1);

    const auto path = write_block(make_block(ab, 0, block_size), {directory.path()}).front();
    auto bytes = read_all(path);
    bytes.resize(bytes.size() / 2);
    write_all(path, bytes);
    err.str("");
    EXPECT_EQ(key_import(directory / "a", {path}, out, err), key_exit_findings);
    EXPECT_NE(err.str().find(path), std::string::npos);
    EXPECT_NE(err.str().find("truncated"), std::string::npos);
    EXPECT_EQ(std::ranges::count(err.str(), '\n'), 1);
    EXPECT_TRUE(std::filesystem::is_empty(directory / "a/incoming")) << "nothing changed";

    EXPECT_EQ(key_import(directory / "x", {path}, out, err), key_exit_unreadable);
    EXPECT_EQ(key_status({directory / "no.sock"}, false, out, err), key_exit_unreadable);
    EXPECT_EQ(key_audit({directory / "x"}, true, out, err), key_exit_unreadable);
}

}  // namespace
}  // namespace warifu
