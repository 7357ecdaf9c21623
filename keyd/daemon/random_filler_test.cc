#include "keyd/daemon/random_filler.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "keyd/pool/test_support.h"

namespace warifu {
namespace {

constexpr std::uint64_t random_block_size = 64U << 10U;

struct random_filler_test : testing::Test {
    random_filler_test() { std::filesystem::create_directories(directory / "in"); }
    random_options options(const std::string& device) {
        random_options out;
        out.device = device;
        out.strength = claim::information_theoretic;
        out.block_size = random_block_size;
        return out;
    }
    std::vector<std::string> delivered() {
        std::vector<std::string> paths;
        for (const auto& entry : std::filesystem::directory_iterator(directory / "in")) paths.push_back(entry.path());
        return paths;
    }
    byte_vector noise(std::size_t size) {
        byte_vector out(size);
        EXPECT_TRUE(make_drbg()->fill(out));
        return out;
    }
    temporary_directory directory;
    std::shared_ptr<std::atomic<bool>> stop = std::make_shared<std::atomic<bool>>(false);
};

TEST_F(random_filler_test, takes_the_end_of_a_file_once) {
    const auto bytes = noise(random_filler::startup_sample_count + 2 * random_block_size + 100);
    write_all(directory / "noise", bytes);
    random_filler filler(options(directory / "noise"), "a", directory / "in");
    ASSERT_TRUE(filler.make_block(0, stop));
    const auto rest = bytes.size() - random_filler::startup_sample_count - random_block_size;
    EXPECT_EQ(std::filesystem::file_size(directory / "noise"), rest);
    ASSERT_EQ(delivered().size(), 1U);
    const auto header = verify_pad_file(delivered().front());
    ASSERT_TRUE(header) << header.error().message();
    EXPECT_EQ(header->block.kind, block_kind::random);
    EXPECT_EQ(header->block.strength, claim::information_theoretic);
    EXPECT_EQ(header->block.stream, (stream_name{"a", "a"}));
    EXPECT_EQ(header->block.range, (pad_range{0, random_block_size}));
    auto file = read_all(delivered().front());
    // Pieces of 64 KiB from the end of the file: here the block is one.
    EXPECT_TRUE(
        std::equal(file.begin() + pad_header_size, file.end(), bytes.begin() + static_cast<std::ptrdiff_t>(rest)));
    ASSERT_TRUE(filler.make_block(random_block_size, stop));
    const auto none = filler.make_block(2 * random_block_size, stop);
    EXPECT_EQ(none.error().code, errc::no_key);
    EXPECT_EQ(delivered().size(), 2U) << "nothing half is left";
}

TEST_F(random_filler_test, a_bad_stretch_is_never_delivered) {
    auto bytes = noise(random_filler::startup_sample_count + 2 * random_block_size);
    const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(random_block_size + 40'000);
    std::fill(from, from + 5, std::byte{9});
    write_all(directory / "noise", bytes);
    random_filler filler(options(directory / "noise"), "a", directory / "in");
    const auto failed = filler.make_block(0, stop);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, errc::bad_tag);
    EXPECT_NE(failed.error().text.find("repetition count"), std::string::npos) << failed.error().text;
    EXPECT_TRUE(delivered().empty());
    write_all(directory / "noise", noise(random_filler::startup_sample_count + random_block_size));
    EXPECT_TRUE(filler.make_block(0, stop)) << "a source that got well is taken after new startup tests";
    write_all(directory / "noise", byte_vector(2 * random_block_size, std::byte{0}));
    random_filler stuck(options(directory / "noise"), "a", directory / "in");
    EXPECT_EQ(stuck.make_block(0, stop).error().code, errc::bad_tag);
}

TEST_F(random_filler_test, reads_devices_and_fifos_and_can_be_stopped) {
    random_filler device(options("/dev/urandom"), "a", directory / "in");
    EXPECT_TRUE(device.make_block(0, stop));
    EXPECT_TRUE(device.make_block(random_block_size, stop));
    EXPECT_EQ(delivered().size(), 2U);
    const std::string fifo = directory / "fifo";
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    random_filler slow(options(fifo), "a", directory / "in");
    std::jthread stopper([this] {
        ::usleep(100'000);
        *stop = true;
    });
    EXPECT_EQ(slow.make_block(0, stop).error().code, errc::cancelled);
}

TEST_F(random_filler_test, what_cannot_be_read_is_named) {
    for (const auto& path : {directory / "none", directory.path()}) {
        random_filler filler(options(path), "a", directory / "in");
        const auto failed = filler.make_block(0, stop);
        ASSERT_FALSE(failed);
        EXPECT_NE(failed.error().text.find(path), std::string::npos) << failed.error().text;
    }
}

}  // namespace
}  // namespace warifu
