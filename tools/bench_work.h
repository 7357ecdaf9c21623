#pragma once
// The work that `warifu bench` times, on any directory: the mount, the disk, a FUSE file system that discards data.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "fs/base/error.h"

namespace warifu {

struct bench_sizes {
    std::uint64_t file = 1ULL << 30U;  // of the one large file, bytes
    unsigned small_files = 5000;
    double seconds = 5;  // of each random pattern
    static bench_sizes quick() { return {128ULL << 20U, 500, 2}; }
};

// Each returns seconds or operations per second. Errors name the directory.

/// Writes `directory`/large in 1 MiB steps, and fsyncs it. Seconds.
result<double> bench_write(const std::filesystem::path& directory, std::uint64_t size);
/// Reads it in 1 MiB steps. Seconds. The caller has made the caches cold.
result<double> bench_read(const std::filesystem::path& directory, std::uint64_t size);
/// Of operations one at a time: how many a second, how long one of them takes.
struct operation_times {
    double per_second = 0, p50_ms = 0, p99_ms = 0;
};
/// 4 KiB at random places of a 64 MiB file, fdatasync after each; the times are those of fdatasync.
result<operation_times> bench_random_write(const std::filesystem::path& directory, double seconds);
/// A file renamed there and back, fsync of its directory after each; the times are those of both calls.
result<operation_times> bench_rename(const std::filesystem::path& directory, double seconds);
/// 4 KiB at random places of `directory`/large, one at a time; `direct`: O_DIRECT. Operations per second.
result<double> bench_random_read(const std::filesystem::path& directory, double seconds, bool direct);

/// Makes `count` files of 1.5 to 9 KB in a new directory, a hundred to a folder: create, write, close.
struct small_files_made {
    double seconds = 0;
    std::uint64_t bytes = 0;
};
result<small_files_made> make_small_files(const std::filesystem::path& directory, unsigned count);
/// stat of each of these files, by its path. Seconds.
result<double> bench_stat(const std::filesystem::path& directory, unsigned count);
/// Runs a program without a shell, output discarded. Seconds. io_error when it fails or is not installed.
result<double> bench_command(const std::vector<std::string>& command);
/// rsync -a of the small files into `directory`/small, then sync of its file system and directory. Seconds.
result<double> bench_rsync(const std::filesystem::path& source, const std::filesystem::path& directory);
/// Reads every file of a tree, in the order of the names, as tar does. Seconds.
result<double> bench_tar_read(const std::filesystem::path& tree);
/// rm -rf. Seconds.
result<double> bench_remove(const std::filesystem::path& tree);

/// What the sites' stores ask of the disk: `size` bytes, O_DIRECT, 1 MiB at a time, 16 of them under way.
struct disk_seconds {
    double write = 0;  // of allocated blocks, with an fdatasync at the end
    double read = 0;
};
result<disk_seconds> bench_disk(const std::filesystem::path& directory, std::uint64_t size);

/// Sends `size` bytes over one TCP connection on loopback, 1 MiB at a time. Seconds.
result<double> bench_loopback(std::uint64_t size);

/// Forgets what the kernel has cached. False when this is not allowed (only root may).
bool drop_kernel_caches();

/// User and system time of a process so far, seconds; 0 when it is gone.
double cpu_seconds(int pid);

}  // namespace warifu
