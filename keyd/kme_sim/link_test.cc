// Two simulations, each with one KME, whose quantum link is a socket: what two processes do.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "keyd/kme_sim/link_message.h"
#include "keyd/kme_sim/test_support.h"

namespace warifu::kme_sim {
namespace {

TEST(link_messages, there_and_back_and_cut_anywhere) {
    const link_hello hello{"A", "B"};
    const link_taken taken{7, 11, "full"};
    key_delivery_batch batch;
    batch.master = "a";
    batch.slaves = {"b", "c"};
    batch.id_extension = "{}";
    batch.keys.push_back({random_uuid<key_id>(), std::make_shared<const key_bytes>(byte_vector(33, std::byte{5}))});
    for (const auto& bytes : {encode_link_hello(hello), encode_link_keys(9, batch), encode_link_taken(taken)}) {
        const bytes_view body = bytes_view(bytes).subspan(link_head_size);
        const auto m = decode_link_message(body);
        ASSERT_TRUE(m) << m.error().message();
        if (const auto* h = std::get_if<link_hello>(&*m)) EXPECT_EQ(*h, hello);
        if (const auto* t = std::get_if<link_taken>(&*m)) EXPECT_EQ(*t, taken);
        if (const auto* k = std::get_if<link_keys>(&*m)) {
            EXPECT_EQ(k->sequence, 9);
            EXPECT_EQ(k->batch.slaves, batch.slaves);
            EXPECT_EQ(k->batch.keys.at(0).id, batch.keys[0].id);
            EXPECT_TRUE(equal_constant_time(k->batch.keys[0].bytes->view(), batch.keys[0].bytes->view()));
        }
        for (std::size_t size = 0; size < body.size(); ++size) EXPECT_FALSE(decode_link_message(body.first(size)));
        byte_vector longer(body.begin(), body.end());
        longer.push_back(std::byte{0});
        EXPECT_FALSE(decode_link_message(longer));
    }
}

class split_link : public testing::Test {
  protected:
    /// The configuration of one of the two processes.
    network_config half(const std::string& own, bool listens) {
        auto config = network_of(test_certificates::directory(), {"alice", "bob"}, 0);
        for (auto& kme : config.kmes) {
            if (kme.name == own) continue;
            kme_config other;
            other.name = kme.name;
            other.saes = kme.saes;
            other.remote = true;
            kme = other;
        }
        place where;
        where.path = test_certificates::directory() / "link.sock";
        if (listens)
            config.links[0].listen = where;
        else
            config.links[0].connect = where;
        return config;
    }
    std::unique_ptr<simulation> start(const std::string& own, bool listens) {
        auto started = simulation::start(core_, half(own, listens));
        EXPECT_TRUE(started) << started.error().message();
        return std::move(*started);
    }
    std::unique_ptr<etsi014_client> client(const simulation& at, const std::string& own, const std::string& peer) {
        return std::move(
            *etsi014_client::create(core_.get_executor(), client_options(at.url_of("kme-" + own), own, peer)));
    }
    void exchange(etsi014_client& from, etsi014_client& to) {
        const auto sent = run(core_, from.enc_keys(5, 1000, deadline_in_ms(patience_ms)));
        ASSERT_TRUE(sent) << sent.error().message();
        std::vector<key_id> ids;
        for (const auto& key : *sent) ids.push_back(key.id());
        const auto fetched = run(core_, to.dec_keys(ids, deadline_in_ms(patience_ms)));
        ASSERT_TRUE(fetched) << fetched.error().message();
        ASSERT_EQ(fetched->size(), sent->size());
        for (std::size_t i = 0; i < sent->size(); ++i)
            EXPECT_TRUE(equal_constant_time(fetched->at(i).bytes(), sent->at(i).bytes()));
    }

    asio::io_context core_{1};
};

TEST_F(split_link, keys_are_at_both_ends_in_both_directions_and_after_a_restart) {
    auto a = start("kme-alice", true);
    const auto alice = client(*a, "alice", "bob");
    const auto down = run(core_, alice->enc_keys(1, 32, deadline_in_ms(200)));
    ASSERT_FALSE(down) << "nobody is at the other end";
    EXPECT_EQ(down.error().code, errc::no_key);
    {
        auto b = start("kme-bob", false);
        const auto bob = client(*b, "bob", "alice");
        exchange(*alice, *bob);
        exchange(*bob, *alice);
    }
    EXPECT_FALSE(run(core_, alice->enc_keys(1, 32, deadline_in_ms(200))));
    auto b = start("kme-bob", false);
    const auto bob = client(*b, "bob", "alice");
    exchange(*alice, *bob);
}

}  // namespace
}  // namespace warifu::kme_sim
