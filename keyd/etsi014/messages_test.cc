#include "keyd/etsi014/messages.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fs/base/random.h"
#include "keyd/etsi014/base64.h"
#include "keyd/etsi014/json_reader.h"

namespace warifu::etsi014 {
namespace {

using testing::HasSubstr;

const std::string id_a = "bc490419-7d60-487f-adc1-4ddcc177c139";
const std::string id_b = "0a782fb5-3434-48fe-aa4d-14f41d46cf92";
constexpr const char* good_status =
    R"({"source_KME_ID":"AAAABBBBCCCCDDDD","target_KME_ID":"EEEEFFFFGGGGHHHH","master_SAE_ID":"IIIIJJJJKKKKLLLL",)"
    R"("slave_SAE_ID":"MMMMNNNNOOOOPPPP","key_size":352,"stored_key_count":25000,"max_key_count":100000,)"
    R"("max_key_per_request":128,"max_key_size":1024,"min_key_size":64,"max_SAE_ID_count":0})";

std::string with(std::string text, const std::string& from, const std::string& to) {
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
}

TEST(status, the_standards_example) {
    const auto s = decode_key_status(good_status);
    ASSERT_TRUE(s) << s.error().message();
    EXPECT_EQ(s->source_kme, "AAAABBBBCCCCDDDD");
    EXPECT_EQ(s->slave_sae, "MMMMNNNNOOOOPPPP");
    EXPECT_EQ(s->key_size, 352);
    EXPECT_EQ(s->keys_stored, 25000);
    EXPECT_EQ(s->keys_per_request_max, 128);
    EXPECT_EQ(encode_key_status(*s), good_status);
}

TEST(status, what_kmes_in_the_field_send_is_read) {
    EXPECT_EQ(decode_key_status(with(good_status, "\"EEEEFFFFGGGGHHHH\"", "17"))->target_kme, "17");
    const auto extended = decode_key_status(with(good_status, "}", R"(,"status_extension":{"a":[1]},"x":null})"));
    ASSERT_TRUE(extended);
    EXPECT_EQ(extended->extension, R"({"a":[1]})");
}

TEST(status, what_breaks_the_standard_is_refused_with_its_place) {
    const std::vector<std::pair<std::string, std::string>> table = {
        {with(good_status, "352", "\"352\""), "$.key_size: expected an integer"},
        {with(good_status, "352", "3.5"), "$.key_size: expected an integer"},
        {with(good_status, "352", "-1"), "$.key_size: expected an integer"},
        {with(good_status, "352", "99999999999999999999999"), "$.key_size: expected an integer"},
        {with(good_status, ",\"min_key_size\":64", ""), "not all members"},
        {with(good_status, "\"min_key_size\"", "\"key_size\""), "key \"key_size\" stands twice"},
        {with(good_status, "}", "} x"), "something follows"},
        {with(good_status, "}", ""), "expected ',' or the end"},
        {with(good_status, "}", ",}"), "a value is missing"},
        {with(good_status, "\"IIIIJJJJKKKKLLLL\"", "[]"), "$.master_SAE_ID: expected an integer"},
        {with(good_status, "IIIIJJJJKKKKLLLL", std::string(300, 'x')), "$.master_SAE_ID: longer than 256 bytes"},
        {with(good_status, "IIIIJJJJKKKKLLLL", "\xff"), "$.master_SAE_ID: not valid UTF-8"},
        {with(good_status, "IIIIJJJJKKKKLLLL", "a\nb"), "control character"},
        {"", "expected an object"},
        {"<html>busy</html>", "expected an object"},
        {"[]", "expected an object"},
        {std::string(100, '['), "expected an object"},
        {"{\"x\":" + std::string(100, '[') + "}", "nested too deeply"},
    };
    for (const auto& [text, what] : table) {
        const auto s = decode_key_status(text);
        ASSERT_FALSE(s) << text;
        EXPECT_EQ(s.error().code, errc::bad_format);
        EXPECT_THAT(s.error().text, HasSubstr(what)) << text;
    }
}

TEST(request, all_fields_and_none) {
    EXPECT_EQ(*decode_key_request(""), key_request{});
    EXPECT_EQ(*decode_key_request(" \r\n"), key_request{});
    EXPECT_EQ(*decode_key_request("{}"), key_request{});
    const auto all =
        decode_key_request(R"({"number": 20, "size": 512, "additional_slave_SAE_IDs": ["ABCDEFG", "HIJKLMN"],)"
                           R"("extension_mandatory": [{"abc_route_type": "direct"}, {"abc_transfer_method": "qkd"}],)"
                           R"("extension_optional": [{"abc_max_age": 30000}]})");
    ASSERT_TRUE(all) << all.error().message();
    EXPECT_EQ(all->number, 20);
    EXPECT_EQ(all->size, 512);
    EXPECT_THAT(all->additional_slaves, testing::ElementsAre("ABCDEFG", "HIJKLMN"));
    ASSERT_EQ(all->mandatory.size(), 2U);
    EXPECT_EQ(all->mandatory[1], (extension{"abc_transfer_method", "\"qkd\""}));
    EXPECT_EQ(all->optional[0], (extension{"abc_max_age", "30000"}));
    EXPECT_EQ(*decode_key_request(encode_key_request(*all)), *all);
}

TEST(request, what_makes_no_sense_is_refused) {
    const std::vector<std::pair<std::string, std::string>> table = {
        {R"({"number":"1"})", "$.number: expected an integer"},
        {R"({"number":-1})", "$.number"},
        {R"({"number":1e3})", "$.number"},
        {R"({"number":01})", "$.number"},
        {R"({"size":null})", "$.size"},
        {R"({"numbr":1})", "$.numbr: unknown parameter"},
        {R"({"additional_slave_SAE_IDs":"b"})", "$.additional_slave_SAE_IDs: expected an array"},
        {R"({"additional_slave_SAE_IDs":[1]})", "$.additional_slave_SAE_IDs[0]: expected a string"},
        {R"({"extension_mandatory":{}})", "$.extension_mandatory: expected an array"},
        {R"({"extension_mandatory":["x"]})", "$.extension_mandatory[0]: expected an object"},
        {"[]", "$: expected an object"},
        {"{", "expected a key"},
    };
    for (const auto& [text, what] : table) {
        const auto r = decode_key_request(text);
        ASSERT_FALSE(r) << text;
        EXPECT_THAT(r.error().text, HasSubstr(what)) << text;
    }
}

TEST(key_ids, there_and_back) {
    std::vector<key_id> ids;
    for (int i = 0; i < 100; ++i) ids.push_back(random_uuid<key_id>());
    EXPECT_EQ(*decode_key_ids(encode_key_ids(ids), 100), ids);
    EXPECT_FALSE(decode_key_ids(encode_key_ids(ids), 99));
    for (const auto* text : {"", "{}", R"({"key_IDs":[]})", R"({"key_IDs":[{}]})", R"({"key_IDs":[{"key_ID":"x"}]})",
                             R"({"key_IDs":["x"]})"})
        EXPECT_FALSE(decode_key_ids(text, 100)) << text;
    EXPECT_FALSE(decode_key_ids(R"({"key_IDs":[{"key_ID":")" + id_a + R"("},{"key_ID":")" + id_a + R"("}]})", 100));
}

TEST(container, there_and_back_with_extensions) {
    std::vector<byte_vector> bytes;
    std::vector<key_to_send> keys;
    for (std::size_t size : {1U, 32U, 33U, 4096U, 100'000U}) {
        bytes.emplace_back(size);
        fill_kernel_random(bytes.back());
    }
    for (const auto& b : bytes) keys.push_back(key_to_send{random_uuid<key_id>(), b, {}, {}});
    keys[1].id_extension = R"({"warifu_path":["x","y"]})";
    keys[2].key_extension = R"({"warifu_recipients":3,"other":{}})";
    const auto text = encode_key_container(keys, R"({"note":1})");
    const auto container = decode_key_container(as_text(text.view()), 5, 100'000);
    ASSERT_TRUE(container) << container.error().message();
    ASSERT_EQ(container->keys.size(), 5U);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        EXPECT_EQ(container->keys[i].id(), keys[i].id);
        EXPECT_TRUE(equal_constant_time(container->keys[i].bytes(), bytes[i]));
    }
    EXPECT_THAT(container->keys[1].path, testing::ElementsAre("x", "y"));
    EXPECT_THAT(container->multicast, testing::ElementsAre(keys[2].id));
    EXPECT_EQ(container->extension, R"({"note":1})");
    EXPECT_FALSE(decode_key_container(as_text(text.view()), 4, 100'000));
    EXPECT_FALSE(decode_key_container(as_text(text.view()), 5, 99'999));
}

std::string container_with(const std::string& key, const std::string& id = id_a, const std::string& more = "") {
    return R"({"keys":[{"key_ID":")" + id + R"(","key":")" + key + "\"" + more + "}]}";
}

TEST(container, escaped_slashes_are_base64_too) {
    const auto c = decode_key_container(container_with(R"(\/\/8\u003d)"), 1, 32);
    ASSERT_TRUE(c) << c.error().message();
    ASSERT_EQ(c->keys[0].bytes().size(), 2U);
    EXPECT_EQ(c->keys[0].bytes()[1], std::byte{0xff});
}

TEST(container, what_breaks_the_standard_is_refused_and_names_no_key_bytes) {
    const std::string one = R"({"key_ID":")" + id_a + R"(","key":"AAAA"})";
    const std::vector<std::pair<std::string, std::string>> table = {
        {"{}", "keys is missing"},
        {R"({"keys":{}})", "$.keys: expected an array"},
        {R"({"keys":[{"key_ID":")" + id_a + R"("}]})", "$.keys[0]: key is missing"},
        {R"({"keys":[{"key":"AAAA"}]})", "$.keys[0]: key_ID is missing"},
        {container_with("AAAA", "not-a-uuid"), "$.keys[0].key_ID: expected a UUID"},
        {container_with("SECRET!!"), "$.keys[0].key: not base64"},
        {container_with("SECRETS"), "$.keys[0].key: not base64"},
        {container_with(R"(SEC\nRET)"), "$.keys[0].key: not base64"},
        {container_with(""), "$.keys[0].key: an empty key"},
        {container_with(base64_encode(byte_vector(33))), "$.keys[0].key: a key of more than 32 bytes"},
        {R"({"keys":[)" + one + "," + one + "]}", "$.keys[1]: this key_ID stands twice"},
        {container_with("SECRETSECRET").substr(0, 70), "the text ends within a string"},
        {container_with("AAAA", id_b, R"(,"key":"BBBB")"), "stands twice"},
        {container_with("AAAA", id_b, R"(,"key_ID_extension":{"warifu_path":[1]})"), "warifu_path[0]"},
        {R"({"keys":[)" + one + "," + with(one, id_a, id_b) + ",]}", "a value is missing"},
    };
    for (const auto& [text, what] : table) {
        const auto c = decode_key_container(text, 2, 32);
        ASSERT_FALSE(c) << text;
        EXPECT_EQ(c.error().code, errc::bad_format);
        EXPECT_THAT(c.error().text, HasSubstr(what)) << text;
        EXPECT_THAT(c.error().text, testing::Not(HasSubstr("SECRET")));
    }
}

TEST(errors, there_and_back) {
    const error_message e{std::string(text_size_not_bytes), {{"size", "257"}, {"why", "\"odd\""}}};
    EXPECT_EQ(encode_error(e), R"({"message":"size shall be a multiple of 8","details":[{"size":257},{"why":"odd"}]})");
    EXPECT_EQ(*decode_error(encode_error(e)), e);
    EXPECT_FALSE(decode_error("<html>"));
    EXPECT_FALSE(decode_error(R"({"details":[]})"));
    EXPECT_EQ(decode_error(R"({"message":"\ud83d\ude00\u00e9\/"})")->message, "\xf0\x9f\x98\x80\xc3\xa9/");
    EXPECT_FALSE(decode_error(R"({"message":"\ud83d"})"));
    EXPECT_FALSE(decode_error(R"({"message":"\udc00"})"));
    EXPECT_FALSE(decode_error("{\"message\":\"\xc0\x80\"}"));
}

TEST(json, an_object_with_very_many_keys_is_refused_early) {
    std::string text = "{";
    for (int i = 0; i < 100'000; ++i) text += fmt::format("\"k{}\":1,", i);
    text.back() = '}';
    EXPECT_THAT(decode_key_status(text).error().text, HasSubstr("too many keys"));
}

}  // namespace
}  // namespace warifu::etsi014
