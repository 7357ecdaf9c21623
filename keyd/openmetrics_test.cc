#include "keyd/openmetrics.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "keyd/rate_meter.h"

namespace warifu {
namespace {

using nlohmann::json;

const json example{{"site", "a"},
                   {"claim", "simulated"},
                   {"uptime_s", 1.5},
                   {"clients", 2},
                   {"imports", 3},
                   {"alarms", {"one"}},
                   {"failures", {{"reads", 0}, {"imports_refused", 4}}},
                   {"streams",
                    {{{"from", "a"},
                      {"to", "b\"\\\n"},
                      {"direction", "out"},
                      {"available_bytes", 61440},
                      {"used_bytes", 7},
                      {"time_to_empty_s", nullptr}}}}};

TEST(openmetrics, has_every_number_and_nothing_that_is_unknown) {
    const auto text = openmetrics_of(example);
    for (const std::string line : {
             "# TYPE warifu_keyd info",
             "warifu_keyd_info{site=\"a\",claim=\"simulated\"} 1",
             "# UNIT warifu_keyd_uptime_seconds seconds",
             "warifu_keyd_uptime_seconds 1.5",
             "warifu_keyd_clients 2",
             "# TYPE warifu_keyd_imports counter",
             "warifu_keyd_imports_total 3",
             "warifu_keyd_failures_total{kind=\"imports_refused\"} 4",
             "warifu_keyd_alarms 1",
             "warifu_keyd_available_bytes{from=\"a\",to=\"b\\\"\\\\\\n\",direction=\"out\"} 61440",
             "warifu_keyd_used_bytes_total{from=\"a\",to=\"b\\\"\\\\\\n\",direction=\"out\"} 7",
         })
        EXPECT_NE(text.find(line + "\n"), std::string::npos) << line << "\nin\n" << text;
    EXPECT_EQ(text.find("time_to_empty_seconds{"), std::string::npos) << "null is no sample";
    EXPECT_TRUE(text.ends_with("\n# EOF\n"));
}

/// The grammar of OpenMetrics 1.0, as far as it is used here.
TEST(openmetrics, keeps_the_grammar) {
    const std::regex head("# (TYPE|UNIT|HELP) ([a-z_]+) (.+)");
    const std::regex sample("([a-z_]+)(\\{.*\\})? ([0-9.eE+-]+)");
    std::istringstream in(openmetrics_of(example));
    std::string family, type;
    std::set<std::string> seen;
    for (std::string line; std::getline(in, line) && line != "# EOF";) {
        std::smatch m;
        if (std::regex_match(line, m, head)) {
            if (m[1] == "TYPE") {
                family = m[2];
                type = m[3];
                EXPECT_TRUE(seen.insert(family).second) << "a family stands together: " << family;
            }
            EXPECT_EQ(m[2], family) << line;
            if (m[1] == "UNIT") EXPECT_TRUE(family.ends_with("_" + m[3].str())) << line;
            continue;
        }
        ASSERT_TRUE(std::regex_match(line, m, sample)) << line;
        EXPECT_EQ(m[1], family + (type == "counter" ? "_total" : type == "info" ? "_info" : "")) << line;
    }
    EXPECT_GT(seen.size(), 15U);
}

TEST(openmetrics, a_status_of_another_shape_does_no_harm) {
    EXPECT_TRUE(openmetrics_of(json::object()).ends_with("# EOF\n"));
    EXPECT_TRUE(openmetrics_of(json{{"site", 5}, {"streams", {1, "x"}}, {"clients", "many"}}).ends_with("# EOF\n"));
}

TEST(delivery_rate, is_the_fastest_seen_until_the_source_runs_short) {
    const auto start = steady_clock::now();
    const auto at = [&](int seconds) { return start + std::chrono::seconds(seconds); };
    delivery_rate rate;
    EXPECT_EQ(rate.per_second(), 0);
    for (int i = 0; i <= 30; ++i) rate.delivered(1'000'000, at(i));
    EXPECT_NEAR(rate.per_second(), 1e6, 1.5e5);
    for (int i = 31; i < 600; i += 60) rate.delivered(1000, at(i));
    EXPECT_NEAR(rate.per_second(), 1e6, 1.5e5) << "it was asked for less";
    for (int i = 600; i < 660; ++i) rate.delivered(100'000, at(i));
    rate.ran_short(at(660));
    EXPECT_NEAR(rate.per_second(), 1e5, 2e4) << "it gave all it had";
}

TEST(rate_meter, a_steady_flow_is_seen_at_once_and_forgotten_slowly) {
    const deadline start{std::chrono::seconds(1000)};
    const auto at = [&](int s) { return start + std::chrono::seconds(s); };
    rate_meter meter;
    EXPECT_EQ(meter.per_second(at(0)), 0);
    for (int i = 0; i <= 10; ++i) meter.add(1000, at(i));
    EXPECT_NEAR(meter.per_second(at(10)), 1100, 100) << "ten seconds are enough to tell";
    for (int i = 11; i <= 300; ++i) meter.add(1000, at(i));
    EXPECT_NEAR(meter.per_second(at(300)), 1000, 20);
    for (int i = 301; i <= 600; ++i) meter.add(5000, at(i));
    EXPECT_NEAR(meter.per_second(at(600)), 5000, 100);
    EXPECT_NEAR(meter.per_second(at(660)), 5000 / 2.718, 100);
    meter.add(-1e9, at(660));
    EXPECT_EQ(meter.per_second(at(660)), 0) << "what comes back does not make it negative";
}

}  // namespace
}  // namespace warifu
