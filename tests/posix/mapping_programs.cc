// Mappings and O_DIRECT, and how they see each other.

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/posix/programs.h"

namespace warifu::posix {
namespace {

constexpr std::size_t page = 4096;

class mapping {
  public:
    mapping(int fd, std::size_t size, int protection, int flags) : size_(size) {
        void* at = ::mmap(nullptr, size, protection, flags, fd, 0);
        if (at == MAP_FAILED) throw broken{fmt::format("mmap: {}", std::strerror(errno))};
        bytes_ = static_cast<char*>(at);
    }
    ~mapping() { ::munmap(bytes_, size_); }
    mapping(const mapping&) = delete;
    mapping& operator=(const mapping&) = delete;
    char* bytes() const { return bytes_; }
    void sync() const { succeeds(::msync(bytes_, size_, MS_SYNC), "msync"); }

  private:
    char* bytes_ = nullptr;
    std::size_t size_;
};

struct free_memory {
    void operator()(char* p) const { std::free(p); }
};
std::unique_ptr<char, free_memory> aligned(std::size_t size, char fill) {
    auto* at = static_cast<char*>(std::aligned_alloc(page, size));
    std::memset(at, fill, size);
    return std::unique_ptr<char, free_memory>(at);
}

std::string read_at(int fd, off_t offset, std::size_t size) {
    std::string text(size, '?');
    const auto got = ::pread(fd, text.data(), size, offset);
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    return text;
}

/// mmap(): what is stored through MAP_SHARED is in the file for every process, at the latest after msync().
void shared_mappings_write_the_file() {
    const int fd = open_file("f", O_CREAT | O_RDWR);
    succeeds(::ftruncate(fd, 3 * page + 100), "ftruncate");
    {
        const mapping map(fd, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED);
        std::memcpy(map.bytes() + page - 2, "over the edge", 13);
        std::memset(map.bytes() + 3 * page, 'z', page);  // beyond the end: those bytes go nowhere
        map.sync();
        expect(read_at(fd, page - 2, 13) == "over the edge", "read() after msync()");
        succeeds(::pwrite(fd, "written", 7, 0), "pwrite");
        expect(std::memcmp(map.bytes(), "written", 7) == 0, "the mapping after write()");
    }
    ::close(fd);
    const int again = open_file("f", O_RDWR);
    struct stat at{};
    succeeds(::fstat(again, &at), "fstat");
    expect(at.st_size == 3 * page + 100, "the size is what it was");
    expect(read_at(again, 3 * page, page) == std::string(100, 'z'), "the last page");
    succeeds(::ftruncate(again, 4 * page), "ftruncate");
    expect(read_at(again, 3 * page + 100, 10) == std::string(10, '\0'), "bytes beyond the old end are zeros");
}

void private_mappings_do_not() {
    const int fd = open_file("f", O_CREAT | O_RDWR);
    succeeds(::pwrite(fd, "0123456789", 10, 0), "pwrite");
    const mapping map(fd, page, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    std::memcpy(map.bytes(), "abc", 3);
    succeeds(::msync(map.bytes(), page, MS_SYNC), "msync");
    expect(read_at(fd, 0, 10) == "0123456789", "the file is unchanged");
}

void two_processes_share_a_mapping() {
    const int fd = open_file("f", O_CREAT | O_RDWR);
    succeeds(::ftruncate(fd, page), "ftruncate");
    const mapping map(fd, page, PROT_READ | PROT_WRITE, MAP_SHARED);
    const pid_t child = ::fork();
    if (child == 0) {
        const int mine = ::open("f", O_RDWR);
        void* at = ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_SHARED, mine, 0);
        if (at == MAP_FAILED) ::_exit(1);
        std::memcpy(at, "from the child", 14);
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    expect(status == 0 && std::memcmp(map.bytes(), "from the child", 14) == 0, "what the other process stored");
}

/// mmap(2): mtime and ctime move after a store to a shared mapping, at the latest with msync(MS_SYNC).
void times_move_with_a_mapping() {
    const int fd = open_file("f", O_CREAT | O_RDWR);
    succeeds(::ftruncate(fd, page), "ftruncate");
    struct stat before{}, after{};
    succeeds(::fstat(fd, &before), "fstat");
    ::usleep(15'000);
    const mapping map(fd, page, PROT_READ | PROT_WRITE, MAP_SHARED);
    map.bytes()[5] = 'x';
    map.sync();
    succeeds(::fstat(fd, &after), "fstat");
    const auto moved = [](const timespec& a, const timespec& b) {
        return b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec > a.tv_nsec);
    };
    expect(moved(before.st_mtim, after.st_mtim) && moved(before.st_ctim, after.st_ctim), "mtime and ctime");
}

/// mmap(): the object stays while it is mapped, without name and descriptor.
void a_mapping_outlives_name_and_descriptor() {
    const int fd = open_file("f", O_CREAT | O_RDWR);
    succeeds(::pwrite(fd, "text", 4, 0), "pwrite");
    const mapping map(fd, page, PROT_READ | PROT_WRITE, MAP_SHARED);
    ::close(fd);
    succeeds(::unlink("f"), "unlink");
    expect(std::memcmp(map.bytes(), "text", 4) == 0, "what is read through it");
    std::memcpy(map.bytes(), "more", 4);
    map.sync();
}

void mappings_need_the_right_descriptor() {
    const int fd = open_file("f", O_CREAT | O_WRONLY);
    succeeds(::pwrite(fd, "text", 4, 0), "pwrite");
    const auto attempt = [](int which, int protection, int flags) {
        void* at = ::mmap(nullptr, page, protection, flags, which, 0);
        if (at == MAP_FAILED) return -1L;
        ::munmap(at, page);
        return 0L;
    };
    fails_with(attempt(fd, PROT_READ, MAP_SHARED), EACCES, "a descriptor for writing only");
    const int reading = open_file("f", O_RDONLY);
    fails_with(attempt(reading, PROT_READ | PROT_WRITE, MAP_SHARED), EACCES, "a descriptor for reading only");
    succeeds(attempt(reading, PROT_READ | PROT_WRITE, MAP_PRIVATE), "a private mapping of it");
    const int directory = open_file(".", O_RDONLY);
    fails_with(attempt(directory, PROT_READ, MAP_SHARED), ENODEV, "a directory");
}

/// open(2), O_DIRECT: aligned transfers; coherent with buffered ones and mappings.
void direct_io_and_the_page_cache_agree() {
    const int plain = open_file("f", O_CREAT | O_RDWR);
    const int direct = open_file("f", O_RDWR | O_DIRECT);
    const auto block = aligned(8 * page, 'd');
    expect(::pwrite(direct, block.get(), 8 * page, 0) == 8 * page, "a direct write");
    expect(read_at(plain, page, 10) == std::string(10, 'd'), "a buffered read after it");
    succeeds(::pwrite(plain, "buffered", 8, 2 * page), "a buffered write");
    const auto back = aligned(8 * page, '?');
    expect(::pread(direct, back.get(), 8 * page, 0) == 8 * page, "a direct read");
    expect(std::memcmp(back.get() + 2 * page, "buffered", 8) == 0, "what the buffered write left");
    const mapping map(plain, 8 * page, PROT_READ | PROT_WRITE, MAP_SHARED);
    std::memset(block.get(), 'e', page);
    expect(::pwrite(direct, block.get(), page, 4 * page) == page, "a direct write under a mapping");
    expect(map.bytes()[4 * page] == 'e', "what the mapping shows");
    map.bytes()[6 * page] = 'm';
    expect(::pread(direct, back.get(), page, 6 * page) == page && back.get()[0] == 'm', "a direct read of a store");
    expect(::pread(direct, back.get(), page, 8 * page) == 0, "a direct read at the end");
    succeeds(::ftruncate(plain, page + 5), "ftruncate");
    expect(::pread(direct, back.get(), 2 * page, 0) == page + 5, "a direct read over the end");
}

void vectors_go_as_one() {
    const int fd = open_file("f", O_CREAT | O_RDWR);
    std::string first = "0123", second, third = "456789";
    iovec parts[3] = {{first.data(), 4}, {second.data(), 0}, {third.data(), 6}};
    expect(::pwritev(fd, parts, 3, 5) == 10, "pwritev");
    expect(read_at(fd, 5, 20) == "0123456789", "what was written");
    expect(::preadv(fd, parts, 3, 10) == 5 && first == "5678" && third[0] == '9', "preadv");
}

}  // namespace

void add_mapping_programs(std::vector<program>& all) {
    all.push_back({"shared mappings write the file", {"tmpfs"}, shared_mappings_write_the_file});
    all.push_back({"private mappings do not", {}, private_mappings_do_not});
    all.push_back({"two processes share a mapping", {}, two_processes_share_a_mapping});
    all.push_back({"times move with a mapping", {}, times_move_with_a_mapping});
    all.push_back({"a mapping outlives name and descriptor", {}, a_mapping_outlives_name_and_descriptor});
    all.push_back({"mappings need the right descriptor", {}, mappings_need_the_right_descriptor});
    all.push_back({"direct I/O and the page cache agree", {}, direct_io_and_the_page_cache_agree});
    all.push_back({"vectors go as one", {}, vectors_go_as_one});
}

}  // namespace warifu::posix
