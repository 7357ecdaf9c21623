// The client against KMEs that behave and KMEs that do not: the right error, nothing used that the peer does not have,
// and recovery by itself.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fs/base/random.h"
#include "keyd/etsi014/base64.h"
#include "keyd/etsi014/messages.h"
#include "keyd/kme_sim/test_support.h"

namespace warifu::kme_sim {
namespace {

using testing::HasSubstr;
using keys = std::vector<delivered_key>;

deadline soon() {
    return deadline_in_ms(patience_ms);
}

std::vector<key_id> ids_of(const keys& of) {
    std::vector<key_id> ids;
    for (const auto& key : of) ids.push_back(key.id());
    return ids;
}

void expect_same(const keys& a, const keys& b) {
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
        EXPECT_EQ(a[i].id(), b[i].id());
        EXPECT_TRUE(equal_constant_time(a[i].bytes(), b[i].bytes()));
    }
}

class with_network : public testing::Test {
  protected:
    with_network() : config_(test_network()) {}
    void start() {
        all_.reset();
        auto started = simulation::start(core_, config_);
        ASSERT_TRUE(started) << started.error().message();
        all_ = std::move(*started);
        alice_ = client("alice", "bob");
        bob_ = client("bob", "alice");
    }
    std::unique_ptr<etsi014_client> client(const std::string& own, const std::string& peer) {
        return std::move(
            *etsi014_client::create(core_.get_executor(), client_options(all_->url_of("kme-" + own), own, peer)));
    }
    void fault(const std::string& text) { ASSERT_TRUE(all_->network().admin("fault " + text)) << text; }
    result<keys> enc(std::size_t count, std::size_t size, std::uint32_t ms = patience_ms) {
        return run(core_, alice_->enc_keys(count, size, deadline_in_ms(ms)));
    }
    result<keys> dec(const std::vector<key_id>& ids, std::uint32_t ms = patience_ms) {
        return run(core_, bob_->dec_keys(ids, deadline_in_ms(ms)));
    }

    asio::io_context core_{1};
    network_config config_;
    std::unique_ptr<simulation> all_;
    std::unique_ptr<etsi014_client> alice_;
    std::unique_ptr<etsi014_client> bob_;
};

TEST_F(with_network, status_is_in_bytes) {
    start();
    const auto said = run(core_, alice_->status(soon()));
    ASSERT_TRUE(said) << said.error().message();
    EXPECT_EQ(said->source_kme, "kme-alice");
    EXPECT_EQ(said->target_kme, "kme-bob");
    EXPECT_EQ(said->key_size, 32);
    EXPECT_EQ(said->key_size_min, 8);
    EXPECT_EQ(said->key_size_max, 1U << 20U);
    EXPECT_EQ(said->keys_per_request_max, 128);
    EXPECT_EQ(alice_->current_url(), all_->url_of("kme-alice"));
}

TEST_F(with_network, requests_are_split_and_both_ends_have_the_same_in_the_same_order) {
    config_.limits.keys_per_request_max = 7;
    start();
    for (const auto& [count, size] : {std::pair(1U, 32U), std::pair(100U, 32U), std::pair(3U, 1U << 20U)}) {
        const auto sent = enc(count, size);
        ASSERT_TRUE(sent) << sent.error().message();
        EXPECT_EQ(sent->size(), count);
        auto ids = ids_of(*sent);
        const auto fetched = dec(ids);
        ASSERT_TRUE(fetched) << fetched.error().message();
        expect_same(*sent, *fetched);
    }
    EXPECT_EQ(alice_->counters().keys_encrypted, 104);
    EXPECT_EQ(bob_->counters().keys_decrypted, 104);
    EXPECT_EQ(bob_->counters().keys_missing, 0);
    EXPECT_LE(alice_->counters().connections_made, 4) << "connections are kept";
    EXPECT_GE(alice_->counters().requests, 17);
}

TEST_F(with_network, what_status_does_not_allow_is_not_asked) {
    config_.limits.key_size_max = 1024;
    start();
    for (const std::size_t size : {0U, 7U, 129U}) EXPECT_EQ(enc(1, size).error().code, errc::bad_argument);
    EXPECT_EQ(enc(0, 32).error().code, errc::bad_argument);
    EXPECT_EQ(alice_->counters().requests, 1) << "the status";
    EXPECT_TRUE(enc(1, 128));
}

TEST_F(with_network, missing_keys_are_found_among_many) {
    start();
    const auto sent = enc(50, 32);
    ASSERT_TRUE(sent);
    auto ids = ids_of(*sent);
    ASSERT_TRUE(dec({ids[10], ids[11], ids[40]}));
    ids.insert(ids.begin() + 3, random_uuid<key_id>());
    const auto fetched = dec(ids);
    ASSERT_TRUE(fetched) << fetched.error().message();
    EXPECT_EQ(fetched->size(), 47U);
    EXPECT_EQ(bob_->counters().keys_missing, 4U);
    const auto again = dec(ids);
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_TRUE(again->empty()) << "all are lost, which is no error";
}

TEST_F(with_network, no_key_ends_at_the_deadline_and_comes_back) {
    config_.links[0].rate = 1;
    start();
    const auto none = enc(4, 32, 300);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, errc::no_key);
    EXPECT_GE(alice_->counters().empty, 2U);
    fault("rate value=100000000");
    const auto some = enc(4, 32);
    ASSERT_TRUE(some) << some.error().message();
    EXPECT_GE(some->size(), 1U);
}

TEST_F(with_network, fewer_keys_come_when_the_stock_holds_no_more) {
    for (const unsigned status : {503U, 400U}) {
        config_.empty_status = status;
        config_.limits.keys_stored_max = 5;
        start();
        fault("rate value=1");
        const auto some = enc(100, 32, 2'000);
        // The first fill is what the unlimited link had: five keys.
        ASSERT_TRUE(some) << some.error().message();
        EXPECT_LE(some->size(), 5U);
        EXPECT_GE(some->size(), 1U);
    }
}

TEST_F(with_network, faults_end_by_themselves) {
    config_.limits.keys_per_request_max = 8;
    start();
    for (const std::string kind :
         {"html kme=kme-alice count=1", "html value=500 kme=kme-alice count=1", "unavailable kme=kme-alice count=2",
          "lost kme=kme-alice count=1", "link_down count=1", "slow kme=kme-alice value=50 count=2"}) {
        ASSERT_TRUE(run(core_, alice_->status(soon())));
        fault(kind);
        result<keys> sent = fail(errc::no_key);
        for (int tries = 0; !sent && tries < 4; ++tries) sent = enc(8, 32);
        ASSERT_TRUE(sent) << kind << ": " << sent.error().message();
        const auto fetched = dec(ids_of(*sent));
        ASSERT_TRUE(fetched) << kind << ": " << fetched.error().message();
        expect_same(*sent, *fetched);
    }
}

TEST_F(with_network, a_lost_dec_keys_answer_costs_its_keys_and_no_others) {
    config_.limits.keys_per_request_max = 4;
    start();
    const auto sent = enc(12, 32);
    ASSERT_TRUE(sent);
    ASSERT_TRUE(run(core_, bob_->status(soon())));
    fault("lost kme=kme-bob count=1");
    std::size_t got = 0;
    for (int tries = 0; tries < 4; ++tries) {
        const auto fetched = dec(ids_of(*sent));
        if (fetched) got += fetched->size();
    }
    EXPECT_EQ(got, 8U);
    const auto more = enc(4, 32);
    ASSERT_TRUE(more);
    EXPECT_EQ(dec(ids_of(*more))->size(), 4U);
}

TEST_F(with_network, expired_keys_are_missing) {
    start();
    const auto sent = enc(3, 32);
    fault("expired kme=kme-bob count=1");
    const auto fetched = dec(ids_of(*sent));
    ASSERT_TRUE(fetched) << fetched.error().message();
    EXPECT_TRUE(fetched->empty());
}

TEST_F(with_network, wrong_keys_are_delivered_as_they_are_and_multicast_keys_are_not) {
    start();
    fault("wrong_keys count=1");
    const auto sent = enc(1, 32);
    const auto fetched = dec(ids_of(*sent));
    ASSERT_EQ(fetched->size(), 1U);
    EXPECT_FALSE(equal_constant_time(fetched->at(0).bytes(), sent->at(0).bytes())) << "only the keyds can tell";
    // A multicast key that a peer names is no pairwise pad.
    kme_request request;
    request.post = true;
    request.target = "/api/v1/keys/bob/enc_keys";
    request.body = R"({"additional_slave_SAE_IDs":["carol"]})";
    request.sae = "alice";
    const auto answer = run(core_, all_->network().handle("kme-alice", request));
    const auto multicast = etsi014::decode_key_container(as_text(answer.body.view()), 1, 32);
    ASSERT_TRUE(multicast);
    const auto refused = dec({multicast->keys[0].id()});
    ASSERT_TRUE(refused);
    EXPECT_TRUE(refused->empty());
}

TEST_F(with_network, relayed_keys_have_their_path) {
    start();
    const auto relayed = run(core_, client("alice", "carol")->enc_keys(2, 32, soon()));
    ASSERT_TRUE(relayed) << relayed.error().message();
    EXPECT_THAT(relayed->at(1).path, testing::ElementsAre("n1", "n2"));
}

TEST_F(with_network, who_is_not_registered_or_not_believed_is_denied) {
    start();
    auto options = client_options(all_->url_of("kme-alice"), "alice", "bob");
    const auto strange = client_files("alice", "other");
    options.certificate_file = strange.certificate;
    options.key_file = strange.key;
    const auto unknown = run(core_, (*etsi014_client::create(core_.get_executor(), options))->status(soon()));
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code, errc::denied) << unknown.error().message();
    options = client_options(all_->url_of("kme-alice"), "mallory", "bob");
    const auto mallory = run(core_, (*etsi014_client::create(core_.get_executor(), options))->status(soon()));
    EXPECT_EQ(mallory.error().code, errc::denied);
    EXPECT_THAT(mallory.error().text, HasSubstr("not registered"));
}

TEST_F(with_network, a_kme_with_another_ca_or_another_name_is_not_believed) {
    start();
    auto options = client_options(all_->url_of("kme-alice"), "alice", "bob");
    options.ca_file = client_files("alice", "other").ca;
    const auto other_ca = run(core_, (*etsi014_client::create(core_.get_executor(), options))->status(soon()));
    EXPECT_EQ(other_ca.error().code, errc::unreachable);
    EXPECT_THAT(other_ca.error().text, HasSubstr("certificate is not accepted"));
    options = client_options(all_->url_of("kme-alice"), "alice", "bob");
    // 127.0.0.2 reaches nobody here, so the name is checked with a KME that listens there.
    config_.kmes[0].listen.host = "127.0.0.2";
    start();
    options.urls = {all_->url_of("kme-alice")};
    const auto other_name = run(core_, (*etsi014_client::create(core_.get_executor(), options))->status(soon()));
    EXPECT_EQ(other_name.error().code, errc::unreachable);
    EXPECT_THAT(other_name.error().text, HasSubstr("mismatch"));
}

TEST_F(with_network, another_kme_takes_over_and_the_first_comes_back) {
    start();
    auto options = client_options(all_->url_of("kme-alice"), "alice", "bob");
    const std::string first = options.urls[0];
    // A second KME of alice's, with the same links: another network in which she is known as well.
    auto second = simulation::start(core_, config_);
    options.urls.push_back((*second)->url_of("kme-alice"));
    options.request_timeout_ms = 5'000;
    const auto both = std::move(*etsi014_client::create(core_.get_executor(), options));
    ASSERT_TRUE(run(core_, both->enc_keys(1, 32, soon())));
    EXPECT_EQ(both->current_url(), first);
    fault("html kme=kme-alice");
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(run(core_, both->enc_keys(1, 32, soon())));
    EXPECT_EQ(both->current_url(), options.urls[1]);
    EXPECT_GE(both->counters().failovers, 3U);
    ASSERT_TRUE(all_->network().admin("clear"));
    const auto until = soon();
    while (both->current_url() != first && steady_clock::now() < until) {
        ASSERT_TRUE(run(core_, both->enc_keys(1, 32, soon())));
        run(core_, [](int ms) -> awaitable<int> {
            co_await sleep_for(std::chrono::milliseconds(ms));
            co_return 0;
        }(20));
    }
    EXPECT_EQ(both->current_url(), first);
}

TEST_F(with_network, nobody_there_is_unreachable_until_somebody_is) {
    start();
    auto options = client_options(all_->url_of("kme-alice"), "alice", "bob");
    const auto port = etsi014::parse_https_url(options.urls[0])->port;
    const auto client = std::move(*etsi014_client::create(core_.get_executor(), options));
    all_.reset();
    const auto nobody = run(core_, client->status(soon()));
    ASSERT_FALSE(nobody);
    EXPECT_EQ(nobody.error().code, errc::unreachable);
    config_.kmes[0].listen.port = port;
    auto back = simulation::start(core_, config_);
    ASSERT_TRUE(back) << back.error().message();
    EXPECT_TRUE(run(core_, client->status(soon())));
}

// A KME that answers as it should not.

constexpr const char* good_status =
    R"({"source_KME_ID":"a","target_KME_ID":"b","master_SAE_ID":"alice","slave_SAE_ID":"bob","key_size":256,)"
    R"("stored_key_count":100,"max_key_count":100,"max_key_per_request":4,"max_key_size":8192,"min_key_size":64,)"
    R"("max_SAE_ID_count":0})";
const std::string id_a = "bc490419-7d60-487f-adc1-4ddcc177c139";
const std::string id_b = "0a782fb5-3434-48fe-aa4d-14f41d46cf92";
const std::string text_32 = base64_encode(byte_vector(32, std::byte{7}));

std::string key_text(const std::string& id, const std::string& text = text_32) {
    return fmt::format(R"({{"key_ID":"{}","key":"{}"}})", id, text);
}
std::string container(const std::string& inside) {
    return fmt::format(R"({{"keys":[{}]}})", inside);
}

class with_script : public testing::Test {
  protected:
    /// The first `bad_count` answers to *_keys are `bad`; then good ones: one key of 32 zero bytes per id.
    void start(scripted_answer bad, int bad_count = 1, int tls_version = TLS1_3_VERSION) {
        kme_ = std::make_unique<scripted_kme>(
            core_,
            [bad = std::move(bad), left = bad_count](const std::string& head, const std::string&) mutable {
                if (head.find("/status ") != std::string::npos) return http_answer(200, good_status);
                if (left-- > 0) return bad;
                return http_answer(200, container(key_text(id_b)));
            },
            tls_version);
        auto options = client_options(kme_->url(), "alice", "bob");
        options.request_timeout_ms = 2'000;
        client_ = std::move(*etsi014_client::create(core_.get_executor(), options));
    }
    result<keys> enc(std::size_t count = 1, std::uint32_t ms = patience_ms) {
        return run(core_, client_->enc_keys(count, 32, deadline_in_ms(ms)));
    }

    asio::io_context core_{1};
    std::unique_ptr<scripted_kme> kme_;
    std::unique_ptr<etsi014_client> client_;
};

TEST_F(with_script, answers_that_break_the_standard_are_refused_and_the_next_counts) {
    struct row {
        std::string what;
        scripted_answer bad;
        errc code;
        std::string text;
    };
    scripted_answer cut = http_answer(200, container(key_text(id_a)));
    cut.bytes.resize(cut.bytes.size() - 10);
    cut.close = true;
    scripted_answer garbage;
    garbage.bytes = "SMTP ready\r\n\r\n";
    garbage.close = true;
    scripted_answer headers;
    headers.bytes = "HTTP/1.1 200 OK\r\nX: " + std::string(40'000, 'x') + "\r\n\r\n";
    scripted_answer giant;
    giant.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{";
    scripted_answer redirect;
    redirect.bytes = "HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n";
    const std::vector<row> table = {
        {"more keys than asked for", http_answer(200, container(key_text(id_a) + "," + key_text(id_b))),
         errc::bad_format, "more than 1 elements"},
        {"a short key", http_answer(200, container(key_text(id_a, base64_encode(byte_vector(31))))), errc::bad_format,
         "a key of 31 bytes"},
        {"a long key", http_answer(200, container(key_text(id_a, base64_encode(byte_vector(33))))), errc::bad_format,
         "more than 32 bytes"},
        {"bad base64", http_answer(200, container(key_text(id_a, "!!!!"))), errc::bad_format, "not base64"},
        {"no UUID", http_answer(200, container(key_text("1"))), errc::bad_format, "expected a UUID"},
        {"truncated JSON", http_answer(200, container(key_text(id_a)).substr(0, 60)), errc::bad_format, "ends within"},
        {"HTML with 200", http_answer(200, "<html></html>", "text/html"), errc::bad_format, "expected an object"},
        {"a multicast key",
         http_answer(200, container(R"({"key_ID":")" + id_a + R"(","key":")" + text_32 +
                                    R"(","key_extension":{"warifu_recipients":2}})")),
         errc::bad_format, "others got as well"},
        {"an answer cut short", cut, errc::unreachable, "truncated"},
        {"no HTTP", garbage, errc::bad_format, "no HTTP"},
        {"a giant header", headers, errc::too_large, "header"},
        {"a giant body", giant, errc::too_large, "more than"},
        {"a redirect", redirect, errc::bad_format, "redirect"},
        {"500 in HTML", http_answer(500, "<html></html>", "text/html"), errc::unreachable, "500"},
        {"401", http_answer(401, R"({"message":"who are you"})"), errc::denied, "who are you"},
        {"403", http_answer(403, "<html>no\nentry</html>", "text/html"), errc::denied, "no entry"},
        {"404", http_answer(404, "not found", "text/plain"), errc::denied, "404"},
        {"400", http_answer(400, R"({"message":"size is odd"})"), errc::bad_argument, "size is odd"},
    };
    for (const auto& row : table) {
        start(row.bad);
        const auto refused = enc();
        ASSERT_FALSE(refused) << row.what;
        EXPECT_EQ(refused.error().code, row.code) << row.what << ": " << refused.error().message();
        EXPECT_THAT(refused.error().text, HasSubstr(row.text)) << row.what;
        EXPECT_EQ(refused.error().text.find('\n'), std::string::npos) << row.what;
        const auto good = enc();
        ASSERT_TRUE(good) << row.what << ": " << good.error().message();
        EXPECT_EQ(good->size(), 1U);
    }
}

TEST_F(with_script, duplicates_over_several_answers_of_a_call_are_refused) {
    start({}, 0);  // gives the same key for ever
    const auto twice = enc(8);
    // Requests of four keys are answered with one; the second answer repeats it.
    ASSERT_TRUE(twice) << "what came before counts";
    EXPECT_EQ(twice->size(), 1U);
    EXPECT_GE(client_->counters().bad_answers, 1U);
}

TEST_F(with_script, an_empty_container_means_no_key_yet) {
    start(http_answer(200, container("")), 2);
    EXPECT_TRUE(enc());
    EXPECT_EQ(client_->counters().empty, 2U);
}

TEST_F(with_script, texts_of_the_field_for_not_enough_are_waited_out) {
    for (const auto& bad : {http_answer(400, R"({"message":"Not enough key material available"})"),
                            http_answer(503, "busy", "text/plain"), http_answer(429, ""),
                            http_answer(400, R"({"message":"Insufficient keys"})")}) {
        start(bad, 3);
        const auto good = enc();
        ASSERT_TRUE(good) << bad.bytes << good.error().message();
        EXPECT_EQ(client_->counters().empty, 3U);
    }
}

TEST_F(with_script, a_slow_loris_and_a_silent_kme_end_at_the_deadline) {
    scripted_answer slow = http_answer(200, container(key_text(id_a)));
    slow.trickle_ms = 100;  // 20 s in all
    start(slow, 1000);
    ASSERT_TRUE(run(core_, client_->status(soon())));
    const auto late = enc(1, 500);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, errc::timed_out) << late.error().message();
    start(scripted_answer{}, 1000);
    ASSERT_TRUE(run(core_, client_->status(soon())));
    const auto silent = enc(1, 300);
    ASSERT_FALSE(silent);
    EXPECT_EQ(silent.error().code, errc::timed_out);
}

TEST_F(with_script, a_call_that_is_cancelled_ends_at_once) {
    // Silent, and without key: in the exchange, and between two tries.
    for (const auto& bad : {scripted_answer{}, http_answer(503, "busy", "text/plain")}) {
        start(bad, 1000);
        ASSERT_TRUE(run(core_, client_->status(soon())));
        asio::steady_timer timer(core_, std::chrono::milliseconds(300));
        timer.async_wait([this](const boost::system::error_code&) { client_->cancel(); });
        const auto begun = steady_clock::now();
        EXPECT_FALSE(enc(1, 20'000));
        EXPECT_LT(steady_clock::now() - begun, std::chrono::milliseconds(1'500));
        const auto later = enc();
        ASSERT_FALSE(later);
        EXPECT_EQ(later.error().code, errc::cancelled);
    }
}

TEST_F(with_script, tls_1_1_is_refused_and_1_2_is_spoken) {
    start({}, 0, TLS1_1_VERSION);
    const auto old = enc();
    ASSERT_FALSE(old);
    EXPECT_EQ(old.error().code, errc::unreachable) << old.error().message();
    EXPECT_EQ(kme_->requests(), 0U);
    start({}, 0, TLS1_2_VERSION);
    EXPECT_TRUE(enc());
}

TEST_F(with_script, dec_keys_takes_what_was_asked_for_and_nothing_else) {
    start(http_answer(200, container(key_text(id_a) + "," + key_text(id_b))), 1);
    const auto a = key_id{*uuid_from_text(id_a)}, b = key_id{*uuid_from_text(id_b)};
    auto some = run(core_, client_->dec_keys({b, a}, soon()));
    ASSERT_TRUE(some) << some.error().message();
    EXPECT_EQ(ids_of(*some), (std::vector{b, a})) << "in the order asked";
    some = run(core_, client_->dec_keys({b, a}, soon()));
    ASSERT_TRUE(some);
    EXPECT_EQ(ids_of(*some), (std::vector{b})) << "the other is lost";
    const auto wrong = run(core_, client_->dec_keys({a}, soon()));
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code, errc::bad_format);
    EXPECT_THAT(wrong.error().text, HasSubstr("not asked for"));
}

TEST_F(with_script, dec_keys_refusals) {
    const auto a = key_id{*uuid_from_text(id_a)};
    struct row {
        unsigned status;
        std::string body;
        std::optional<errc> code;  // none: the key is lost
    };
    const std::vector<row> table = {
        {400, R"({"message":"one or more keys specified are not found on KME"})", {}},
        {404, "<html>not found</html>", {}},
        {403, R"({"message":"key expired"})", {}},
        {410, "", {}},
        {401, R"({"message":"no"})", errc::denied},
        {400, R"({"message":"what?"})", errc::bad_argument},
        {418, "", errc::denied},
    };
    for (const auto& row : table) {
        start(http_answer(row.status, row.body));
        const auto said = run(core_, client_->dec_keys({a}, soon()));
        if (row.code) {
            ASSERT_FALSE(said) << row.status;
            EXPECT_EQ(said.error().code, *row.code) << row.status;
        } else {
            ASSERT_TRUE(said) << row.status << said.error().message();
            EXPECT_TRUE(said->empty());
        }
    }
}

TEST_F(with_script, a_connection_that_was_closed_while_idle_is_replaced_quietly) {
    scripted_answer last = http_answer(200, container(key_text(id_b)));
    last.close = true;
    start(last, 3);
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(enc());
    EXPECT_EQ(client_->counters().failures, 0U);
    EXPECT_GE(client_->counters().connections_made, 3U);
}

TEST(options, what_makes_no_sense_is_refused) {
    asio::io_context core;
    const auto code = [&](auto change) {
        auto options = client_options("https://127.0.0.1:1", "alice", "bob");
        change(options);
        const auto made = etsi014_client::create(core.get_executor(), options);
        return made ? errc{} : made.error().code;
    };
    EXPECT_EQ(code([](auto&) {}), errc{});
    for (const auto* url : {"http://127.0.0.1", "https://", "https://a:0", "https://a:99999", "https://a b", "a",
                            "https://u@h/", "https://h?x"})
        EXPECT_EQ(code([&](auto& o) { o.urls = {url}; }), errc::bad_argument) << url;
    for (const auto* url : {"https://kme.example", "https://[::1]:8443/prefix/", "https://10.0.0.1:443/a/b"})
        EXPECT_EQ(code([&](auto& o) { o.urls = {url}; }), errc{}) << url;
    EXPECT_EQ(code([](auto& o) { o.urls.clear(); }), errc::bad_argument);
    EXPECT_EQ(code([](auto& o) { o.peer_sae = o.own_sae; }), errc::bad_argument);
    EXPECT_EQ(code([](auto& o) { o.peer_sae.clear(); }), errc::bad_argument);
    EXPECT_EQ(code([](auto& o) { o.connections_max = 0; }), errc::bad_argument);
    EXPECT_EQ(code([](auto& o) { o.ca_file = "/nowhere/ca.pem"; }), errc::not_found);
    EXPECT_EQ(code([](auto& o) { o.ca_file = o.key_file; }), errc::bad_format);
    EXPECT_EQ(code([](auto& o) { o.key_file = client_files("bob").key; }), errc::bad_format) << "another's key";
}

}  // namespace
}  // namespace warifu::kme_sim
