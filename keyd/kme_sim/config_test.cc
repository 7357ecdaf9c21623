#include "keyd/kme_sim/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "keyd/kme_sim/certificates.h"
#include "keyd/kme_sim/faults.h"
#include "keyd/kme_sim/link.h"
#include "keyd/kme_sim/target.h"

namespace warifu::kme_sim {
namespace {

using testing::HasSubstr;
const std::filesystem::path file = "/etc/qkd/kme-sim.json";

const std::string small =
    R"({"version":1,"ca":"ca.pem","certificate":"k.pem","key":"k.key","rate":1000,"kmes":[)"
    R"({"name":"A","saes":["a"],"listen":"127.0.0.1:0"},{"name":"B","saes":["b","c"],"listen":"[::1]:8443"}]})";

std::string with(const std::string& from, const std::string& to) {
    std::string text = small;
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
}

TEST(network_config, a_small_one_has_defaults_and_all_links) {
    const auto c = parse_network_config(small, file);
    ASSERT_TRUE(c) << c.error().message();
    EXPECT_EQ(c->limits, key_limits{});
    ASSERT_EQ(c->kmes.size(), 2U);
    EXPECT_EQ(c->kmes[1].listen, (place{"::1", 8443, {}}));
    EXPECT_EQ(c->kmes[0].ca, "/etc/qkd/ca.pem");
    ASSERT_EQ(c->links.size(), 1U);
    EXPECT_EQ(c->links[0].rate, 1000);
    EXPECT_EQ(*parse_network_config(to_json_text(*c, file), file), *c);
}

TEST(network_config, everything_survives_a_round_trip) {
    auto c = network_of("/etc/qkd", {"x", "y", "z"}, 7);
    c.kmes[2].remote = true;
    c.kmes[2].listen = {};
    c.kmes[2].ca = c.kmes[2].certificate = c.kmes[2].key = "";
    c.links[0].path = {"n1", "n2"};
    c.links[1].listen = place{"127.0.0.1", 9000, {}};
    c.links[2].connect = place{"", 0, "/run/qkd.sock"};
    c.identity = identity_source::serial;
    c.empty_status = 400;
    c.admin = "/etc/qkd/admin.sock";
    c.limits.key_size_max = 1U << 20U;
    const auto again = parse_network_config(to_json_text(c, file), file);
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_EQ(*again, c);
}

TEST(network_config, mistakes_are_named_with_file_and_place) {
    const std::vector<std::pair<std::string, std::string>> table = {
        {"{", "not valid JSON"},
        {with("\"version\":1", "\"version\":2"), "$.version: expected an integer from 1 to 1"},
        {with("\"rate\":1000", "\"rats\":1000"), "$.rats: unknown key"},
        {with("\"rate\":1000", "\"rate\":-1"), "$.rate: expected an integer"},
        {with("127.0.0.1:0", "127.0.0.1"), "$.kmes[0].listen: expected HOST:PORT"},
        {with("127.0.0.1:0", "127.0.0.1:70000"), "$.kmes[0].listen: expected HOST:PORT"},
        {with("\"B\"", "\"A\""), "two KMEs are named A"},
        {with("\"c\"", "\"a\""), "the SAE ID a stands twice"},
        {with("\"c\"", "\"b\""), "$.kmes[1].saes[1]: this name stands twice"},
        {with("\"ca\":\"ca.pem\",", ""), "$.kmes[0]: ca, certificate and key"},
        {with("\"rate\":1000", R"("limits":{"key_size":12})"), "$.limits: key sizes are multiples of 8"},
        {with("\"rate\":1000", R"("limits":{"key_size":8})"), "min_key_size <= key_size"},
        {with("\"rate\":1000", R"("sae_id_from":"dns")"), "$.sae_id_from: expected cn, serial or cn-serial"},
        {with("\"rate\":1000", R"("empty_status":404)"), "$.empty_status: expected 400 or 503"},
        {with("\"rate\":1000", R"("links":[{"between":["A"]}])"), "$.links[0].between: expected two KMEs"},
        {with("\"rate\":1000", R"("links":[{"between":["A","Z"]}])"), "no KME is named Z"},
        {with("\"rate\":1000", R"("links":[{"between":["A","B"],"listen":"127.0.0.1:1"}])"), "another process"},
        {with("\"rate\":1000", R"("links":[{"between":["A","B"]},{"between":["B","A"]}])"), "$.links[1]: this link"},
        {with(R"("saes":["a"],"listen":"127.0.0.1:0")", R"("saes":["a"],"remote":true)"), "links must be given"},
    };
    for (const auto& [text, what] : table) {
        const auto c = parse_network_config(text, file);
        ASSERT_FALSE(c) << text;
        EXPECT_EQ(c.error().code, errc::bad_format);
        EXPECT_THAT(c.error().text, testing::StartsWith(file.string()));
        EXPECT_THAT(c.error().text, HasSubstr(what)) << text;
    }
}

TEST(faults, texts_there_and_back) {
    for (const std::string text : {"link_down link=A,B", "rate value=0", "slow kme=A value=50 count=3", "lost count=1",
                                   "html value=500", "expired", "unavailable", "wrong_keys kme=B"}) {
        const auto f = parse_fault(text);
        ASSERT_TRUE(f) << text << f.error().message();
        EXPECT_EQ(to_text(*f), text);
    }
}

TEST(faults, happen_as_often_and_where_they_were_asked_for) {
    fault_list list;
    ASSERT_TRUE(list.add(*parse_fault("slow kme=A value=5 count=2")));
    EXPECT_FALSE(list.happens(fault_kind::slow, "B"));
    EXPECT_EQ(list.happens(fault_kind::slow, "A"), 5);
    EXPECT_EQ(list.happens(fault_kind::slow, "A"), 5);
    EXPECT_FALSE(list.happens(fault_kind::slow, "A"));
    ASSERT_TRUE(list.add(*parse_fault("link_down link=A,B")));
    EXPECT_TRUE(list.happens(fault_kind::link_down, "A", "B", "A"));
    EXPECT_FALSE(list.happens(fault_kind::link_down, "A", "A", "C"));
    list.clear();
    EXPECT_FALSE(list.happens(fault_kind::link_down, "A", "A", "B"));
}

TEST(key_stock, fills_at_its_rate_up_to_its_capacity) {
    const deadline start = steady_clock::now();
    const auto at = [&](int ms) { return start + std::chrono::milliseconds(ms); };
    key_stock stock(1000, 5000, start);
    EXPECT_EQ(stock.bits(start), 0);
    EXPECT_EQ(stock.bits(at(500)), 500);
    EXPECT_FALSE(stock.take(501, at(500)));
    EXPECT_TRUE(stock.take(500, at(500)));
    EXPECT_EQ(stock.bits(at(500)), 0);
    EXPECT_EQ(stock.bits(at(400)), 0) << "time does not go back";
    EXPECT_EQ(stock.bits(at(100'000)), 5000);
    stock.set_rate(0, at(100'000));
    EXPECT_TRUE(stock.take(5000, at(100'000)));
    EXPECT_EQ(stock.bits(at(100'000)), 5000) << "no limit";
}

TEST(request_target, what_is_a_resource) {
    const auto t = parse_target("/api/v1/keys/a%2fb/enc_keys?number=2&size=+8&x");
    ASSERT_TRUE(t);
    EXPECT_EQ(t->sae, "a/b");
    EXPECT_EQ(t->method, "enc_keys");
    ASSERT_EQ(t->query.size(), 3U);
    EXPECT_EQ(t->query[1], std::pair(std::string("size"), std::string(" 8")));
    for (const auto* text : {"", "/", "/api/v1/keys/", "/api/v1/keys//status", "/api/v1/keys/a", "/api/v1/keys/a/",
                             "/api/v1/keys/a/b/status", "/api/v2/keys/a/status", "/api/v1/keys/%/status",
                             "/api/v1/keys/%00/status", "/api/v1/keys/a/status?x=%g"})
        EXPECT_FALSE(parse_target(text)) << text;
}

}  // namespace
}  // namespace warifu::kme_sim
