#pragma once
// For tests: a real mount of a memory_volume in a temporary directory, served by this process.

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <future>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "fs/files/memory_volume.h"
#include "fs/mount/mount.h"

namespace warifu::testing {

/// Why mounts cannot be tested here; empty when they can.
inline std::string why_no_mount() {
    if (::geteuid() != 0) return "not root";
    const int fd = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0) return "/dev/fuse cannot be opened";
    ::close(fd);
    return {};
}

class temporary_directory {
  public:
    temporary_directory() {
        std::string pattern = (std::filesystem::temp_directory_path() / "warifu_mount_XXXXXX").string();
        path_ = ::mkdtemp(pattern.data());
        ::chmod(path_.c_str(), 0755);  // tests look from other users too
    }
    ~temporary_directory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    temporary_directory(const temporary_directory&) = delete;
    temporary_directory& operator=(const temporary_directory&) = delete;
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

class test_mount {
  public:
    explicit test_mount(std::shared_ptr<memory_sites> where = std::make_shared<memory_sites>(),
                        file_system_options options = {})
        : sites(std::move(where)), guard_(asio::make_work_guard(core)), vol(sites) {
        path = directory.path() + "/mnt";
        ::mkdir(path.c_str(), 0755);
        fs = file_system::make(core, vol, options);
        core_thread_ = std::thread([this] { core.run(); });
        start();
    }
    ~test_mount() {
        stop();
        core.stop();
        core_thread_.join();
    }

    /// Unmounts; what run_mount returned.
    int stop() {
        if (!serving_.valid()) return last_;
        ::umount2(path.c_str(), MNT_DETACH);
        return wait();
    }
    int wait() {
        last_ = serving_.get();
        return last_;
    }
    std::string at(const std::string& name) const { return path + "/" + name; }
    std::string reports() const {
        const std::lock_guard lock(mutex_);
        return reports_;
    }

    temporary_directory directory;
    std::string path;
    asio::io_context core;
    const std::shared_ptr<memory_sites> sites;

  private:
    void start() {
        mount_options options;
        options.mountpoint = path;
        options.volume_name = "test";
        options.allow_other = true;
        auto ready = std::make_shared<std::promise<void>>();
        options.ready = [ready] { ready->set_value(); };
        options.report = [this](std::string_view line) {
            const std::lock_guard lock(mutex_);
            reports_ += std::string(line) + "\n";
        };
        serving_ = std::async(std::launch::async, [this, options] { return run_mount(options, *fs, core); });
        const auto until = ready->get_future().wait_for(std::chrono::seconds(10));
        if (until != std::future_status::ready) ADD_FAILURE() << "the mount did not come up: " << reports();
    }

    asio::executor_work_guard<asio::io_context::executor_type> guard_;

  public:
    memory_volume vol;
    std::unique_ptr<file_system> fs;

  private:
    std::thread core_thread_;
    std::future<int> serving_;
    int last_ = 0;
    mutable std::mutex mutex_;
    std::string reports_;
};

}  // namespace warifu::testing
