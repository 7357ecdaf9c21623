// Known answers: vectors.json comes from make_vectors.py, which knows nothing of this code.

#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "fs/otp/open.h"
#include "fs/otp/seal.h"
#include "fs/otp/xor.h"

namespace warifu {
namespace {

byte_vector from_hex(const std::string& text) {
    byte_vector bytes;
    for (std::size_t i = 0; i + 1 < text.size(); i += 2)
        bytes.push_back(static_cast<std::byte>(std::stoul(text.substr(i, 2), nullptr, 16)));
    return bytes;
}

nlohmann::json vectors() {
    std::ifstream file(OTP_VECTORS);
    return nlohmann::json::parse(file);
}

TEST(otp_vectors, sealed_frames_equal_the_known_answers) {
    std::size_t frame_count = 0;
    for (const auto& vector : vectors()) {
        SCOPED_TRACE(vector["name"].get<std::string>());
        byte_vector pad = from_hex(vector["pad"]);
        sealer seal;
        seal.start_window(vector["offset"].get<std::uint64_t>(), pad);
        for (const auto& frame : vector["frames"]) {
            const byte_vector text = from_hex(frame["plaintext"]);
            const bytes_view part = text;
            const auto sealed = seal.seal({&part, 1});
            EXPECT_EQ(to_hex(sealed.header) + to_hex(sealed.body), frame["wire"].get<std::string>());
            ++frame_count;
        }
    }
    EXPECT_EQ(frame_count, 10U);
}

TEST(otp_vectors, known_answers_open) {
    for (const auto& vector : vectors()) {
        SCOPED_TRACE(vector["name"].get<std::string>());
        byte_vector pad = from_hex(vector["pad"]);
        window_table table;
        table.add(vector["offset"].get<std::uint64_t>(), pad);
        for (const auto& frame : vector["frames"]) {
            const byte_vector wire = from_hex(frame["wire"]);
            const bytes_view view = wire;
            const auto header = decode_frame_header(view);
            ASSERT_TRUE(header);
            const bytes_view cipher = view.subspan(frame_header_size, header->length);
            const auto opened = table.accept(*header, cipher, view.last(mac_tag_size));
            ASSERT_TRUE(opened) << opened.error().message();
            byte_vector text(cipher.size());
            xor_to(text, cipher, *opened);
            EXPECT_EQ(to_hex(text), frame["plaintext"].get<std::string>());
        }
    }
}

// RFC 8439 section 2.5.2: the key is r || s.
TEST(otp_vectors, one_time_tag_is_poly1305) {
    const byte_vector key = from_hex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b");
    EXPECT_EQ(to_hex(one_time_tag(key, as_bytes_view("Cryptographic Forum Research Group"))),
              "a8061dc1305136c6c22b8baf0c0127a9");
}

}  // namespace
}  // namespace warifu
