#include "fs/config/config.h"

#include <fmt/format.h>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "fs/base/limits.h"
#include "fs/base/random.h"
#include "fs/config/json_node.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string uuid = "6f1d3a52-93b7-4c1e-8a55-0d9f2b6c7e10";

ordered_json good_site() {
    return ordered_json::parse(R"({
        "version": 1, "name": "site1",
        "keyd": {"socket": "../../run/k.sock", "pads": "pads", "reserve": 4096},
        "server": {"listen": "127.0.0.1:7101", "socket": "/run/w/s.sock", "store": "store", "store_size": 1073741824,
                   "access": "access.json"},
        "links": [{"peer": "site2", "address": "127.0.0.1:7102"}, {"peer": "site3", "address": "[::1]:7103"}]})");
}

ordered_json good_volume() {
    return ordered_json::parse(R"({
        "version": 1, "volume": "6f1d3a52-93b7-4c1e-8a55-0d9f2b6c7e10", "name": "genomes", "k": 2, "n": 3,
        "sites": ["site1", "site2", "site3"], "site": "../sites/site1/site.json", "run": ".", "randomness": "drbg"})");
}

ordered_json good_access() {
    return ordered_json::parse(R"({"version": 1, "grants": [
        {"volume": "6f1d3a52-93b7-4c1e-8a55-0d9f2b6c7e10", "site": "site1", "grant": "write"}]})");
}

class temporary_directory {
  public:
    temporary_directory() {
        std::string name = (path_fs::temp_directory_path() / "warifu-config-XXXXXX").string();
        path_ = ::mkdtemp(name.data());
    }
    ~temporary_directory() { path_fs::remove_all(path_); }
    const path_fs::path& path() const { return path_; }

  private:
    path_fs::path path_;
};

TEST(site_config, good_document_is_read_with_paths_resolved) {
    const auto config = parse_site_config(good_site().dump(), "/d/sites/site1/site.json");
    ASSERT_TRUE(config) << config.error().message();
    EXPECT_EQ(config->name, "site1");
    EXPECT_EQ(config->keyd.socket, "/d/run/k.sock");
    EXPECT_EQ(config->keyd.pads, "/d/sites/site1/pads");
    EXPECT_EQ(config->server.socket, "/run/w/s.sock");
    EXPECT_EQ(config->server.listen, (endpoint{"127.0.0.1", 7101}));
    EXPECT_EQ(config->server.store_size, 1073741824U);
    ASSERT_NE(config->link_to("site3"), nullptr);
    EXPECT_EQ(config->link_to("site3")->address, (endpoint{"::1", 7103}));
    EXPECT_EQ(config->link_to("site9"), nullptr);
}

ordered_json good_kme_site() {
    auto site = good_site();
    site["keyd"]["listen"] = "127.0.0.1:7201";
    site["keyd"]["stock"] = 1048576;
    site["links"][0]["control"] = "127.0.0.1:7202";
    site["links"][0]["kme"] = ordered_json::parse(R"({
        "urls": ["https://kme1:8443", "https://[::1]:8444/qkd"], "ca": "kme/ca.pem", "certificate": "kme/sae.pem",
        "key": "kme/sae.key", "own_sae": "sae-1", "peer_sae": "sae-2", "claim": "simulated", "key_size": 32})");
    return site;
}

struct bad_value {
    std::string pointer;  // JSON pointer of the value to change
    ordered_json value;   // discarded: the key is removed
    std::string message;  // after the file's name
};

const ordered_json gone(ordered_json::value_t::discarded);

/// Applies one change and returns the message of the parse that must fail.
template <typename Parse>
std::string message_of(ordered_json document, const bad_value& bad, Parse parse) {
    const ordered_json::json_pointer pointer(bad.pointer);
    if (bad.value.is_discarded()) {
        auto& parent = document[pointer.parent_pointer()];
        if (parent.is_array())
            parent.erase(static_cast<std::size_t>(std::stoul(pointer.back())));
        else
            parent.erase(pointer.back());
    } else {
        document[pointer] = bad.value;
    }
    const auto config = parse(document.dump(), path_fs::path("some/file.json"));
    if (config) return "accepted: " + bad.pointer;
    return config.error().text;
}

TEST(site_config, every_bad_value_names_file_and_path) {
    const std::vector<bad_value> table = {
        {"/version", gone, "$.version: missing"},
        {"/version", 2, "$.version: this program reads version 1"},
        {"/version", "1", "$.version: expected an integer"},
        {"/name", gone, "$.name: missing"},
        {"/name", 7, "$.name: expected a string"},
        {"/name", "", "$.name: expected a string that is not empty"},
        {"/name", "../up", "$.name: expected a site name"},
        {"/name", "Site1", "$.name: expected a site name"},
        {"/name", std::string(64, 'a'), "$.name: expected a site name"},
        {"/nmae", "x", "$.nmae: unknown key (known here: version, name, keyd, server, links)"},
        {"/odd key", "x", "$[\"odd key\"]: unknown key"},
        {"/keyd", gone, "$.keyd: missing"},
        {"/keyd", 1, "$.keyd: expected an object"},
        {"/keyd/socket", gone, "$.keyd.socket: missing"},
        {"/keyd/socket", nullptr, "$.keyd.socket: expected a string"},
        {"/keyd/socket", "a\nb", "$.keyd.socket: control characters"},
        {"/keyd/pads", gone, "$.keyd.pads: missing"},
        {"/keyd/pads", true, "$.keyd.pads: expected a string"},
        {"/keyd/reserve", gone, "$.keyd.reserve: missing"},
        {"/keyd/reserve", -1, "$.keyd.reserve: expected an integer from 0"},
        {"/keyd/reserve", 1.5, "$.keyd.reserve: expected an integer"},
        {"/keyd/reserve", 1e30, "$.keyd.reserve: expected an integer"},
        {"/keyd/extra", 1, "$.keyd.extra: unknown key"},
        {"/server", gone, "$.server: missing"},
        {"/server/listen", gone, "$.server.listen: missing"},
        {"/server/listen", 7101, "$.server.listen: expected a string"},
        {"/server/listen", "7101", "$.server.listen: expected HOST:PORT"},
        {"/server/listen", ":7101", "$.server.listen: expected HOST:PORT"},
        {"/server/listen", "a:0", "$.server.listen: expected HOST:PORT"},
        {"/server/listen", "a:65536", "$.server.listen: expected HOST:PORT"},
        {"/server/listen", "a:71x", "$.server.listen: expected HOST:PORT"},
        {"/server/listen", "::1:7101", "$.server.listen: expected HOST:PORT"},
        {"/server/listen", "[::1:7101", "$.server.listen: expected HOST:PORT"},
        {"/server/listen", "a b:7101", "$.server.listen: expected HOST:PORT"},
        {"/server/socket", gone, "$.server.socket: missing"},
        {"/server/store", gone, "$.server.store: missing"},
        {"/server/store", ordered_json::array(), "$.server.store: expected a string"},
        {"/server/store_size", gone, "$.server.store_size: missing"},
        {"/server/store_size", "1G", "$.server.store_size: expected an integer"},
        {"/server/store_size", 4096, "$.server.store_size: expected an integer from 4194304"},
        {"/server/access", gone, "$.server.access: missing"},
        {"/server/acess", "x", "$.server.acess: unknown key"},
        {"/links", gone, "$.links: missing"},
        {"/links", ordered_json::object(), "$.links: expected an array"},
        {"/links/0", "site2", "$.links[0]: expected an object"},
        {"/links/1/peer", gone, "$.links[1].peer: missing"},
        {"/links/1/peer", "site1", "$.links[1].peer: a site has no link to itself"},
        {"/links/1/peer", "site2", "$.links[1].peer: this peer stands twice"},
        {"/links/1/address", gone, "$.links[1].address: missing"},
        {"/links/1/address", "nowhere", "$.links[1].address: expected HOST:PORT"},
        {"/links/1/rate", 1, "$.links[1].rate: unknown key"},
    };
    for (const auto& bad : table)
        EXPECT_THAT(message_of(good_site(), bad, parse_site_config), StartsWith("some/file.json: " + bad.message));
}

TEST(site_config, every_bad_value_of_what_keyd_may_have) {
    const std::vector<bad_value> table = {
        {"/keyd/group", 1, "$.keyd.group: expected a string"},
        {"/keyd/metrics", "9109", "$.keyd.metrics: expected HOST:PORT"},
        {"/keyd/random", "/dev/hwrng", "$.keyd.random: expected an object"},
        {"/keyd/random", {{"claim", "simulated"}}, "$.keyd.random.device: missing"},
        {"/keyd/random", {{"device", "/dev/x"}}, "$.keyd.random.claim: missing"},
        {"/keyd/random", {{"device", "/dev/x"}, {"claim", "good"}}, "$.keyd.random.claim: expected computational"},
        {"/keyd/random",
         {{"device", "/dev/x"}, {"claim", "simulated"}, {"entropy_bits", 9}},
         "$.keyd.random.entropy_bits: expected an integer from 1"},
        {"/keyd/random",
         {{"device", "/dev/x"}, {"claim", "information-theoretic"}, {"entropy_bits", 7}},
         "$.keyd.random.claim: information-theoretic needs"},
        {"/keyd/random",
         {{"device", "/dev/x"}, {"claim", "simulated"}, {"target", 1}},
         "$.keyd.random.target: expected an integer from 1048576"},
    };
    for (const auto& bad : table)
        EXPECT_THAT(message_of(good_site(), bad, parse_site_config), StartsWith("some/file.json: " + bad.message));
}

TEST(site_config, a_link_with_a_kme_survives_a_round_trip) {
    const auto config = parse_site_config(good_kme_site().dump(), "/d/sites/site1/site.json");
    ASSERT_TRUE(config) << config.error().text;
    const auto& link = config->links[0];
    ASSERT_TRUE(link.kme && link.control && config->keyd.listen);
    EXPECT_EQ(to_text(*link.control), "127.0.0.1:7202");
    EXPECT_EQ(link.kme->urls.size(), 2U);
    EXPECT_EQ(link.kme->ca, "/d/sites/site1/kme/ca.pem");
    EXPECT_EQ(link.kme->strength, claim::simulated);
    EXPECT_EQ(link.kme->key_size, 32U);
    EXPECT_EQ(config->keyd.stock, 1048576U);
    EXPECT_FALSE(config->links[1].kme);
    const auto again = parse_site_config(to_json_text(*config, "/d/sites/site1/site.json"), "/d/sites/site1/site.json");
    ASSERT_TRUE(again) << again.error().text;
    EXPECT_EQ(*again, *config);
}

TEST(site_config, every_bad_value_of_a_kme_names_file_and_path) {
    const std::vector<bad_value> table = {
        {"/keyd/listen", "7201", "$.keyd.listen: expected HOST:PORT"},
        {"/keyd/stock", 1, "$.keyd.stock: expected an integer from 262144"},
        {"/links/0/control", 1, "$.links[0].control: expected a string"},
        {"/links/0/control", gone, "$: the link to site2 has a KME: it needs links[].control"},
        {"/links/0/kme", "https://kme1", "$.links[0].kme: expected an object"},
        {"/links/0/kme/urls", gone, "$.links[0].kme.urls: missing"},
        {"/links/0/kme/urls", ordered_json::array(), "$.links[0].kme.urls: at least one URL is needed"},
        {"/links/0/kme/urls/1", "http://kme1", "$.links[0].kme.urls[1]: expected https://HOST[:PORT][/PREFIX]"},
        {"/links/0/kme/ca", gone, "$.links[0].kme.ca: missing"},
        {"/links/0/kme/certificate", 1, "$.links[0].kme.certificate: expected a string"},
        {"/links/0/kme/key", gone, "$.links[0].kme.key: missing"},
        {"/links/0/kme/own_sae", "", "$.links[0].kme.own_sae: expected a string that is not empty"},
        {"/links/0/kme/peer_sae", "sae-1", "$.links[0].kme: own_sae and peer_sae are the same"},
        {"/links/0/kme/claim", gone, "$.links[0].kme.claim: missing"},
        {"/links/0/kme/claim", "computational", "$.links[0].kme.claim: expected simulated or information-theoretic"},
        {"/links/0/kme/key_size", 8388608, "$.links[0].kme.key_size: expected an integer from 0"},
        {"/links/0/kme/pin", 1, "$.links[0].kme.pin: unknown key"},
    };
    for (const auto& bad : table)
        EXPECT_THAT(message_of(good_kme_site(), bad, parse_site_config), StartsWith("some/file.json: " + bad.message));
    auto listener = good_kme_site();
    listener["name"] = "site9";
    listener["keyd"].erase("listen");
    const auto config = parse_site_config(listener.dump(), "f");
    ASSERT_FALSE(config);
    EXPECT_EQ(config.error().text, "f: $: the link to site2 has a KME: keyd.listen is needed");
}

TEST(site_config, too_many_links) {
    auto document = good_site();
    for (int i = 0; i < 16; ++i)
        document["links"].push_back({{"peer", "peer" + std::to_string(i)}, {"address", "127.0.0.1:1"}});
    const auto config = parse_site_config(document.dump(), "f");
    ASSERT_FALSE(config);
    EXPECT_EQ(config.error().text, "f: $.links: more than 15 elements");
}

TEST(volume_config, good_document_is_read) {
    const auto config = parse_volume_config(good_volume().dump(), "d/run/volume.json");
    ASSERT_TRUE(config) << config.error().message();
    EXPECT_EQ(to_text(config->id), uuid);
    EXPECT_EQ(config->threshold, 2U);
    EXPECT_EQ(config->sites.size(), 3U);
    EXPECT_EQ(config->site, "d/sites/site1/site.json");
    EXPECT_EQ(config->run, "d/run/");
}

TEST(volume_config, every_bad_value_names_file_and_path) {
    const std::vector<bad_value> table = {
        {"/volume", gone, "$.volume: missing"},
        {"/volume", "abc", "$.volume: a UUID has 36 characters"},
        {"/volume", "6f1d3a52x93b7-4c1e-8a55-0d9f2b6c7e10", "$.volume: a UUID has the form"},
        {"/volume", "00000000-0000-0000-0000-000000000000", "$.volume: a volume id is not zero"},
        {"/name", gone, "$.name: missing"},
        {"/name", std::string(256, 'a'), "$.name: longer than 255 bytes"},
        {"/k", gone, "$.k: missing"},
        {"/k", 1, "$.k: expected an integer from 2 to 3"},
        {"/k", 4, "$.k: expected an integer from 2 to 3"},
        {"/k", "2", "$.k: expected an integer from 2 to 3"},
        {"/n", gone, "$.n: missing"},
        {"/n", 4, "$.n: 3 sites are listed in $.sites"},
        {"/n", 17, "$.n: expected an integer from 2 to 16"},
        {"/sites", gone, "$.sites: missing"},
        {"/sites", "site1", "$.sites: expected an array"},
        {"/sites", ordered_json::array({"site1"}), "$.sites: a volume has at least 2 sites"},
        {"/sites/1", 5, "$.sites[1]: expected a string"},
        {"/sites/1", "site1", "$.sites[1]: this site stands twice"},
        {"/sites/1", "a/b", "$.sites[1]: expected a site name"},
        {"/site", gone, "$.site: missing"},
        {"/run", gone, "$.run: missing"},
        {"/randomness", gone, "$.randomness: missing"},
        {"/randomness", "dice", "$.randomness: expected drbg or pool"},
        {"/volumes", 1, "$.volumes: unknown key"},
    };
    for (const auto& bad : table)
        EXPECT_THAT(message_of(good_volume(), bad, parse_volume_config), StartsWith("some/file.json: " + bad.message));
}

TEST(access_config, every_bad_value_names_file_and_path) {
    const ordered_json same = {{"volume", uuid}, {"site", "site1"}, {"grant", "read"}};
    const std::vector<bad_value> table = {
        {"/grants", gone, "$.grants: missing"},
        {"/grants", 1, "$.grants: expected an array"},
        {"/grants/0", 1, "$.grants[0]: expected an object"},
        {"/grants/0/volume", gone, "$.grants[0].volume: missing"},
        {"/grants/0/volume", 1, "$.grants[0].volume: expected a string"},
        {"/grants/0/site", "*", "$.grants[0].site: expected a site name"},
        {"/grants/0/grant", gone, "$.grants[0].grant: missing"},
        {"/grants/0/grant", "all", "$.grants[0].grant: expected none, read or write"},
        {"/grants/0/why", "x", "$.grants[0].why: unknown key"},
        {"/grants/1", same, "$.grants[1]: this volume and site stand twice"},
    };
    for (const auto& bad : table)
        EXPECT_THAT(message_of(good_access(), bad, parse_access_config), StartsWith("some/file.json: " + bad.message));
}

TEST(access_config, grants_are_set_changed_and_taken_back) {
    const volume_id volume{*uuid_from_text(uuid)};
    access_config config;
    EXPECT_EQ(config.of(volume, "a"), grant::none);
    config.set(volume, "a", grant::read);
    config.set(volume, "b", grant::write);
    config.set(volume, "a", grant::write);
    EXPECT_EQ(config.entries.size(), 2U);
    EXPECT_EQ(config.of(volume, "a"), grant::write);
    EXPECT_EQ(config.of(random_uuid<volume_id>(), "a"), grant::none);
    config.set(volume, "a", grant::none);
    EXPECT_EQ(config.of(volume, "a"), grant::none);
    EXPECT_EQ(config.of(volume, "b"), grant::write);
}

TEST(json, texts_that_are_not_json) {
    const auto message = [](std::string_view text) {
        const auto config = parse_deployment_config(text, "f");
        return config ? std::string("accepted") : config.error().text;
    };
    EXPECT_EQ(message(""), "f: line 1, column 1: not valid JSON");
    EXPECT_EQ(message("{\n  \"version\": 1,\n}"), "f: line 3, column 1: not valid JSON");
    EXPECT_EQ(message("\xff\xfe"), "f: line 1, column 1: not valid JSON");
    EXPECT_EQ(message("[]"), "f: $: expected an object");
    EXPECT_EQ(message("{\"version\": 1, \"version\": 1}"), "f: key version stands twice");
    EXPECT_EQ(message(std::string(100, '[') + std::string(100, ']')), "f: nested too deeply");
    EXPECT_EQ(message(std::string(config_size_max + 1, ' ')), "f: larger than 1048576 bytes");
    EXPECT_EQ(message("{\"version\": 1e400}"), "f: not valid JSON");
    EXPECT_EQ(message("{\"version\": 1} x"), "f: line 1, column 16: not valid JSON");
    const std::string good = "{\"version\": 1, \"pads_target\": 1, \"link_rate\": 2, \"complete\": ";
    EXPECT_EQ(message(good + "true}"), "accepted");
    EXPECT_EQ(message(good + "1}"), "f: $.complete: expected true or false");
    EXPECT_EQ(message(good + "true, \"x\": 1}"),
              "f: $.x: unknown key (known here: version, pads_target, link_rate, key_source, complete)");
}

TEST(files, round_trip_and_relative_paths) {
    const temporary_directory directory;
    const path_fs::path site_file = directory.path() / "sites" / "site1" / "site.json";
    path_fs::create_directories(site_file.parent_path());
    site_config site = *parse_site_config(good_site().dump(), site_file);
    ASSERT_TRUE(save(site, site_file));
    const auto text = read_text_file(site_file);
    ASSERT_TRUE(text);
    EXPECT_THAT(*text, HasSubstr("\"../../run/k.sock\""));
    EXPECT_THAT(*text, HasSubstr("\"/run/w/s.sock\""));
    EXPECT_EQ(*load_site_config(site_file), site);

    const path_fs::path volume_file = directory.path() / "run" / "volume.json";
    path_fs::create_directories(volume_file.parent_path());
    const volume_config volume = *parse_volume_config(good_volume().dump(), volume_file);
    ASSERT_TRUE(save(volume, volume_file));
    EXPECT_EQ(load_volume_config(volume_file)->site, site_file);
    // A deployment directory stands for its volume.
    EXPECT_EQ(*load_volume_config(directory.path()), *load_volume_config(volume_file));

    access_config access;
    access.set(volume.id, "site2", grant::read);
    ASSERT_TRUE(save(access, directory.path() / "access.json"));
    EXPECT_EQ(*load_access_config(directory.path() / "access.json"), access);
    EXPECT_EQ(*load_access_config(directory.path() / "nothing.json"), access_config{});
}

TEST(files, what_cannot_be_read_is_named) {
    const temporary_directory directory;
    const auto missing = load_site_config(directory.path() / "site.json");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, errc::not_found);
    EXPECT_EQ(missing.error().text, (directory.path() / "site.json").string() + ": No such file or directory");
    const auto is_directory = load_site_config(directory.path());
    ASSERT_FALSE(is_directory);
    EXPECT_EQ(is_directory.error().code, errc::io_error);
    const auto no_place = save(deployment_config{}, directory.path() / "no" / "d.json");
    ASSERT_FALSE(no_place);
    EXPECT_EQ(no_place.error().code, errc::not_found);
}

TEST(site_config, what_a_keyd_may_have_survives_a_round_trip) {
    auto document = good_site();
    document["keyd"]["group"] = "warifu-key";
    document["keyd"]["metrics"] = "127.0.0.1:9109";
    document["keyd"]["random"] = {{"device", "/dev/hwrng"}, {"claim", "information-theoretic"}, {"target", 2U << 20U}};
    const path_fs::path file = "/d/sites/site1/site.json";
    const auto config = parse_site_config(document.dump(), file);
    ASSERT_TRUE(config) << config.error().message();
    EXPECT_EQ(config->keyd.group, "warifu-key");
    EXPECT_EQ(config->keyd.metrics, "127.0.0.1:9109");
    ASSERT_TRUE(config->keyd.random);
    EXPECT_EQ(config->keyd.random->device, "/dev/hwrng");
    EXPECT_EQ(config->keyd.random->strength, claim::information_theoretic);
    EXPECT_EQ(config->keyd.random->entropy_bits, 8U);
    EXPECT_EQ(*parse_site_config(to_json_text(*config, file), file), *config);
}

TEST(site_name, is_at_most_as_long_as_every_format_holds) {
    EXPECT_TRUE(valid_site_name(std::string(63, 'a')));
    EXPECT_FALSE(valid_site_name(std::string(64, 'a')));
}

TEST(endpoint, round_trip) {
    for (const std::string text : {"127.0.0.1:7101", "[::1]:1", "site-2.example.org:65535"})
        EXPECT_EQ(to_text(*parse_endpoint(text)), text);
}

}  // namespace
}  // namespace warifu
