// Each clause of ETSI GS QKD 014 v1.1.1 that the simulator keeps, over real TLS: a table of requests and answers.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "keyd/etsi014/base64.h"
#include "keyd/etsi014/messages.h"
#include "keyd/kme_sim/test_support.h"

namespace warifu::kme_sim {
namespace {

using etsi014::https_answer;
using etsi014::https_connection;
using etsi014::https_request;
using testing::HasSubstr;

class conformance : public testing::Test {
  protected:
    conformance() : config_(test_network()) {
        config_.limits.key_size_max = 1024;
        config_.limits.keys_per_request_max = 4;
        config_.limits.additional_saes_max = 1;
    }
    void start() {
        auto started = simulation::start(core_, config_);
        ASSERT_TRUE(started) << started.error().message();
        all_ = std::move(*started);
    }
    awaitable<https_answer> exchange(std::string kme, std::string sae, https_request request) {
        const auto tls = *etsi014::make_tls_context(client_files(sae), etsi014::tls_side::client);
        const auto url = *etsi014::parse_https_url(all_->url_of(kme));
        auto connection = co_await https_connection::open(core_.get_executor(), tls, url, deadline_in_ms(patience_ms));
        if (!connection) throw std::runtime_error(connection.error().message());
        auto answer = co_await (*connection)->exchange(std::move(request), 1U << 20U, deadline_in_ms(patience_ms));
        if (!answer) throw std::runtime_error(answer.error().message());
        co_return std::move(*answer);
    }
    https_answer ask(const std::string& sae, bool post, const std::string& target, const std::string& body = "") {
        https_request request;
        request.post = post;
        request.target = "/api/v1/keys/" + target;
        request.body = body;
        const std::string at = sae == "mallory" ? "kme-alice" : "kme-" + sae;
        return run(core_, exchange(at, sae, request));
    }
    etsi014::key_container keys(const https_answer& answer) {
        auto out = etsi014::decode_key_container(answer.text(), 100, 1U << 20U);
        EXPECT_TRUE(out) << answer.text();
        return out ? std::move(*out) : etsi014::key_container{};
    }
    static std::string ids_of(const etsi014::key_container& container) {
        std::vector<key_id> ids;
        for (const auto& key : container.keys) ids.push_back(key.id());
        return etsi014::encode_key_ids(ids);
    }

    asio::io_context core_{1};
    network_config config_;
    std::unique_ptr<simulation> all_;
};

TEST_F(conformance, requests_that_are_refused) {
    start();
    struct row {
        std::string sae;
        bool post;
        std::string target;
        std::string body;
        unsigned status;
        std::string what;
    };
    const std::string unknown_id = R"({"key_IDs":[{"key_ID":"bc490419-7d60-487f-adc1-4ddcc177c139"}]})";
    const std::vector<row> table = {
        // Section 5.2, "Get key", and 6.2, its request.
        {"alice", true, "bob/enc_keys", R"({"size":257})", 400, "size shall be a multiple of 8"},
        {"alice", false, "bob/enc_keys?size=257", "", 400, "size shall be a multiple of 8"},
        {"alice", true, "bob/enc_keys", R"({"size":56})", 400, "min_key_size"},
        {"alice", true, "bob/enc_keys", R"({"size":1032})", 400, "max_key_size"},
        {"alice", true, "bob/enc_keys", R"({"number":5})", 400, "max_key_per_request"},
        {"alice", true, "bob/enc_keys", R"({"number":0})", 400, "at least 1"},
        {"alice", false, "bob/enc_keys?number=x", "", 400, "expected one integer"},
        {"alice", false, "bob/enc_keys?number=1&number=1", "", 400, "expected one integer"},
        {"alice", false, "bob/enc_keys?color=red", "", 400, "unknown parameter"},
        {"alice", true, "bob/enc_keys?number=1", "{}", 400, "parameters of a POST"},
        {"alice", true, "bob/enc_keys", "{", 400, "expected a key"},
        {"alice", true, "bob/enc_keys", R"({"number":"one"})", 400, "expected an integer"},
        {"alice", true, "bob/enc_keys", R"({"numbre":1})", 400, "unknown parameter"},
        {"alice", true, "nobody/enc_keys", "", 400, "unknown slave_SAE_ID"},
        {"alice", true, "alice/enc_keys", "", 400, "unknown slave_SAE_ID"},
        {"bob", true, "carol/enc_keys", "", 400, "no QKD link"},
        {"alice", true, "bob/enc_keys", R"({"additional_slave_SAE_IDs":["carol","dave"]})", 400, "max_SAE_ID_count"},
        {"alice", true, "bob/enc_keys", R"({"additional_slave_SAE_IDs":["bob"]})", 400, "stands twice"},
        {"alice", true, "bob/enc_keys", R"({"extension_mandatory":[{"abc_x":1}]})", 400,
         "not all extension_mandatory parameters are supported"},
        {"alice", true, "carol/enc_keys", R"({"extension_mandatory":[{"warifu_route_type":"direct"}]})", 400,
         "not all extension_mandatory request options could be met"},
        // Section 5.3, "Get key with key IDs".
        {"bob", true, "alice/dec_keys", unknown_id, 400, "one or more keys specified are not found on KME"},
        {"bob", false, "alice/dec_keys?key_ID=bc490419-7d60-487f-adc1-4ddcc177c139", "", 400,
         "one or more keys specified are not found on KME"},
        {"bob", true, "alice/dec_keys", "", 400, "expected an object"},
        {"bob", true, "alice/dec_keys", "{}", 400, "key_IDs is missing"},
        {"bob", true, "alice/dec_keys", R"({"key_IDs":[{"key_ID":"7"}]})", 400, "expected a UUID"},
        {"bob", false, "alice/dec_keys", "", 400, "expected one key_ID"},
        // Section 5.1, "Get status", and resources that there are not.
        {"alice", false, "nobody/status", "", 400, "unknown slave_SAE_ID"},
        {"alice", true, "bob/status", "", 405, "GET"},
        {"alice", false, "bob/keys", "", 404, "no such resource"},
        {"alice", false, "bob%zz/status", "", 404, "no such resource"},
        {"alice", false, "", "", 404, "no such resource"},
        // Section 4: who is not registered is not answered.
        {"mallory", false, "bob/status", "", 401, "not registered"},
        {"mallory", true, "bob/enc_keys", "", 401, "not registered"},
    };
    for (const auto& row : table) {
        const auto answer = ask(row.sae, row.post, row.target, row.body);
        EXPECT_EQ(answer.status, row.status) << row.target << " " << row.body;
        const auto said = etsi014::decode_error(answer.text());
        ASSERT_TRUE(said) << answer.text();
        EXPECT_THAT(said->message, HasSubstr(row.what)) << row.target << " " << row.body;
    }
}

TEST_F(conformance, status_has_every_member) {
    config_.limits.keys_stored_max = 1234;
    start();
    const auto answer = ask("alice", false, "bob/status");
    EXPECT_EQ(answer.status, 200);
    const auto said = etsi014::decode_key_status(answer.text());
    ASSERT_TRUE(said) << said.error().message();
    EXPECT_EQ(said->source_kme, "kme-alice");
    EXPECT_EQ(said->target_kme, "kme-bob");
    EXPECT_EQ(said->master_sae, "alice");
    EXPECT_EQ(said->slave_sae, "bob");
    EXPECT_EQ(said->key_size, 256);
    EXPECT_EQ(said->keys_stored, 1234);
    EXPECT_EQ(said->keys_stored_max, 1234);
    EXPECT_EQ(said->keys_per_request_max, 4);
    EXPECT_EQ(said->key_size_max, 1024);
    EXPECT_EQ(said->key_size_min, 64);
    EXPECT_EQ(said->additional_saes_max, 1);
    EXPECT_THAT(said->extension, HasSubstr("simulated"));
}

TEST_F(conformance, all_forms_of_get_key_and_both_ends_have_the_same) {
    start();
    struct row {
        bool post;
        std::string query;
        std::string body;
        std::size_t number;
        std::size_t size;
    };
    const std::vector<row> table = {
        {true, "", "", 1, 32},
        {true, "", "{}", 1, 32},
        {true, "", R"({"number":3,"size":512})", 3, 64},
        {true, "", R"({"size":64,"extension_mandatory":[],"extension_optional":[]})", 1, 8},
        {true, "", R"({"extension_mandatory":[{"warifu_route_type":"direct"}]})", 1, 32},
        {false, "", "", 1, 32},
        {false, "?number=2", "", 2, 32},
        {false, "?size=1024&number=4", "", 4, 128},
    };
    for (const auto& row : table) {
        const auto answer = ask("alice", row.post, "bob/enc_keys" + row.query, row.body);
        ASSERT_EQ(answer.status, 200) << answer.text();
        const auto sent = keys(answer);
        ASSERT_EQ(sent.keys.size(), row.number);
        EXPECT_THAT(sent.extension, HasSubstr("simulated"));
        const auto fetched = keys(ask("bob", true, "alice/dec_keys", ids_of(sent)));
        ASSERT_EQ(fetched.keys.size(), row.number);
        for (std::size_t i = 0; i < row.number; ++i) {
            EXPECT_EQ(sent.keys[i].bytes().size(), row.size);
            EXPECT_EQ(fetched.keys[i].id(), sent.keys[i].id());
            EXPECT_TRUE(equal_constant_time(fetched.keys[i].bytes(), sent.keys[i].bytes()));
        }
    }
}

TEST_F(conformance, a_key_is_delivered_once_and_to_whom_was_named_only) {
    start();
    const auto sent = keys(ask("alice", true, "bob/enc_keys", R"({"number":2})"));
    const std::string one = "alice/dec_keys?key_ID=" + to_text(sent.keys[0].id());
    EXPECT_EQ(ask("bob", false, "carol/dec_keys?key_ID=" + to_text(sent.keys[0].id())).status, 401) << "other master";
    EXPECT_EQ(ask("carol", false, one).status, 400) << "another KME never had it";
    EXPECT_EQ(ask("bob", false, one).status, 200);
    EXPECT_EQ(ask("bob", false, one).status, 400) << "it has left the pool";
    // One missing key fails the request and costs the other nothing.
    const auto both = ask("bob", true, "alice/dec_keys", ids_of(sent));
    EXPECT_EQ(both.status, 400);
    EXPECT_THAT(std::string(both.text()), HasSubstr(to_text(sent.keys[0].id())));
    EXPECT_EQ(ask("bob", false, "alice/dec_keys?key_ID=" + to_text(sent.keys[1].id())).status, 200);
}

TEST_F(conformance, a_caller_at_the_same_kme_who_was_not_named_gets_401) {
    config_.kmes[1].saes = {"bob", "carol"};
    config_.kmes[2].saes = {"dave"};
    start();
    const auto sent = keys(ask("alice", true, "bob/enc_keys"));
    https_request request;
    request.target = "/api/v1/keys/alice/dec_keys?key_ID=" + to_text(sent.keys[0].id());
    EXPECT_EQ(run(core_, exchange("kme-bob", "carol", request)).status, 401);
    EXPECT_EQ(run(core_, exchange("kme-bob", "bob", request)).status, 200);
}

TEST_F(conformance, multicast_keys_go_once_to_each_slave_and_say_so) {
    start();
    const auto sent = keys(ask("alice", true, "bob/enc_keys", R"({"additional_slave_SAE_IDs":["carol"]})"));
    EXPECT_EQ(sent.multicast.size(), 1U);
    for (const auto* slave : {"bob", "carol"}) {
        const auto fetched = keys(ask(slave, true, "alice/dec_keys", ids_of(sent)));
        ASSERT_EQ(fetched.keys.size(), 1U) << slave;
        EXPECT_EQ(fetched.multicast.size(), 1U);
        EXPECT_TRUE(equal_constant_time(fetched.keys[0].bytes(), sent.keys[0].bytes()));
        EXPECT_EQ(ask(slave, true, "alice/dec_keys", ids_of(sent)).status, 400) << "once";
    }
}

TEST_F(conformance, relayed_keys_tell_their_path_and_optional_extensions_are_noted) {
    start();
    const auto sent =
        keys(ask("alice", true, "carol/enc_keys", R"({"extension_optional":[{"warifu_route_type":"direct"}]})"));
    EXPECT_THAT(sent.keys.at(0).path, testing::ElementsAre("n1", "n2"));
    EXPECT_THAT(sent.extension, HasSubstr("not all extension_optional request options handled"));
    const auto back = keys(ask("carol", true, "alice/enc_keys"));
    EXPECT_THAT(back.keys.at(0).path, testing::ElementsAre("n2", "n1"));
}

TEST_F(conformance, an_empty_pool_is_answered_as_configured_and_the_rate_fills_it) {
    for (const unsigned status : {503U, 400U}) {
        config_.empty_status = status;
        config_.links[0].rate = 1;  // one bit a second
        config_.links[0].path.clear();
        start();
        const auto answer = ask("alice", true, "bob/enc_keys");
        EXPECT_EQ(answer.status, status);
        EXPECT_EQ(etsi014::decode_error(answer.text())->message, "Not enough key material available");
        EXPECT_EQ(etsi014::decode_key_status(ask("alice", false, "bob/status").text())->keys_stored, 0);
        ASSERT_TRUE(all_->network().admin("fault rate value=1000000000000"));
        ask("alice", false, "bob/status");  // from now on the link has the new rate
        EXPECT_EQ(ask("alice", true, "bob/enc_keys").status, 200);
        all_.reset();
    }
}

TEST_F(conformance, stock_is_consumed_and_bounded) {
    config_.limits.keys_stored_max = 4;
    config_.limits.pending_size_max = 4 * 32;
    start();
    EXPECT_EQ(ask("alice", true, "bob/enc_keys", R"({"number":4,"size":512})").status, 503) << "more than the stock";
    const auto sent = keys(ask("alice", true, "bob/enc_keys", R"({"number":4})"));
    EXPECT_EQ(ask("alice", true, "bob/enc_keys").status, 503) << "too many wait";
    EXPECT_EQ(ask("bob", true, "alice/dec_keys", ids_of(sent)).status, 200);
    EXPECT_EQ(ask("alice", true, "bob/enc_keys").status, 200);
}

TEST_F(conformance, the_sae_id_comes_from_the_certificate_as_configured) {
    const auto context = *etsi014::make_tls_context(client_files("alice"), etsi014::tls_side::client);
    const X509* own = SSL_CTX_get0_certificate(context->native_handle());
    BIGNUM* number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(own), nullptr);
    char* hex = BN_bn2hex(number);
    const std::string serial = hex;
    OPENSSL_free(hex);
    BN_free(number);
    const std::vector<std::pair<identity_source, std::string>> table = {
        {identity_source::common_name, "alice"},
        {identity_source::serial, serial},
        {identity_source::common_name_and_serial, "alice-" + serial}};
    for (const auto& [source, name] : table) {
        config_.identity = source;
        config_.kmes[0].saes = {name};
        start();
        const auto answer = ask("alice", false, "bob/status");
        ASSERT_EQ(answer.status, 200) << answer.text();
        EXPECT_EQ(etsi014::decode_key_status(answer.text())->master_sae, name);
        all_.reset();
    }
}

TEST_F(conformance, escaped_sae_ids_are_one_step_of_the_path) {
    config_.kmes[1].saes = {"bob", "b/o b"};
    start();
    EXPECT_EQ(etsi014::decode_key_status(ask("alice", false, "b%2Fo%20b/status").text())->slave_sae, "b/o b");
}

TEST_F(conformance, faults_on_request) {
    start();
    auto& network = all_->network();
    const auto asked = [&](const std::string& fault) { ASSERT_TRUE(network.admin("fault " + fault)) << fault; };
    asked("link_down link=kme-bob,kme-alice count=1");
    EXPECT_EQ(ask("alice", true, "bob/enc_keys").status, 503);
    EXPECT_EQ(ask("alice", true, "bob/enc_keys").status, 200);
    asked("html kme=kme-alice count=1");
    EXPECT_THAT(std::string(ask("alice", false, "bob/status").text()), HasSubstr("<html>"));
    asked("unavailable kme=kme-alice count=1");
    EXPECT_EQ(ask("alice", false, "bob/status").status, 503);
    asked("wrong_keys link=kme-alice,kme-bob count=1");
    const auto sent = keys(ask("alice", true, "bob/enc_keys"));
    const auto fetched = keys(ask("bob", true, "alice/dec_keys", ids_of(sent)));
    EXPECT_FALSE(equal_constant_time(fetched.keys.at(0).bytes(), sent.keys.at(0).bytes()));
    asked("lost kme=kme-alice count=1");
    EXPECT_THROW(ask("alice", true, "bob/enc_keys"), std::runtime_error);
    EXPECT_EQ(ask("alice", true, "bob/enc_keys").status, 200);
    const auto old = keys(ask("alice", true, "bob/enc_keys"));
    asked("expired kme=kme-bob count=1");
    EXPECT_EQ(ask("bob", true, "alice/dec_keys", ids_of(old)).status, 400);
    asked("slow kme=kme-alice value=1 count=1");
    EXPECT_EQ(ask("alice", false, "bob/status").status, 200);
    asked("rate value=0");
    asked("unavailable");
    ASSERT_TRUE(network.admin("clear"));
    EXPECT_EQ(ask("alice", true, "bob/enc_keys").status, 200);
    for (const auto* text : {"fault", "fault sloth", "fault slow", "fault html value=9", "fault lost kme=nobody",
                             "fault lost color=red", "fault lost count=x", "nonsense"})
        EXPECT_FALSE(network.admin(text)) << text;
}

}  // namespace
}  // namespace warifu::kme_sim
