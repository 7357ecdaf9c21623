// warifu bench: DESIGN section 6's table, with the limits measured in the same run.

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <optional>
#include <thread>
#include <unistd.h>
#include <utility>

#include "tools/bench_work.h"
#include "tools/cli.h"
#include "tools/control.h"
#include "tools/core_thread.h"
#include "tools/deployment.h"
#include "tools/discard_mount.h"
#include "tools/exit_code.h"
#include "tools/key_stock.h"
#include "tools/mount_command.h"
#include "tools/process.h"
#include "tools/text.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

constexpr std::uint64_t key_kept = 32U << 20U;  // reserves, and what connections hold

double median(std::vector<double> values) {
    if (values.empty()) return 0;
    std::ranges::sort(values);
    const std::size_t middle = values.size() / 2;
    return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// One row: what was measured where; rates in MB/s or operations per second, times in seconds or milliseconds.
struct row {
    std::string work, unit, goal;
    std::vector<double> mount, disk, discard;
};

/// What the mount and its sites have used so far.
struct usage {
    std::uint64_t pad = 0, random = 0, memory_peak = 0;
    double cpu = 0;
};

class bench_run {
  public:
    bench_run(deployment where, bench_sizes sizes, unsigned rounds)
        : where_(std::move(where)),
          sizes_(sizes),
          rounds_(rounds),
          on_mount_(where_.layout.mount_point() / ".bench"),
          on_disk_(where_.layout.root() / "run" / "bench") {}

    result<void> run() {
        TRY_VOID(prepare());
        auto outcome = measure();
        go_on_dealing();
        std::error_code ec;
        discard_.reset();
        path_fs::remove_all(on_disk_, ec);
        path_fs::remove_all(on_mount_, ec);
        return outcome;
    }

    std::string table() const;
    ordered_json json() const;

  private:
    result<void> prepare() {
        std::error_code ec;
        path_fs::remove_all(on_mount_, ec);
        path_fs::remove_all(on_disk_, ec);
        for (const auto& directory : {on_mount_, on_disk_}) {
            path_fs::create_directories(directory, ec);
            if (ec) return fail(errc::io_error, fmt::format("{}: {}", directory.string(), ec.message()));
        }
        TRY_VOID(make_small_files(on_disk_ / "source", sizes_.small_files));
        auto mounted = discard_mount::start(on_disk_ / "discard");
        if (mounted)
            discard_ = std::move(*mounted);
        else
            fmt::print(stderr, "warifu bench: no FUSE limit: {}\n", mounted.error().text);
        say("warming memory up");
        // The first touch of memory is slow on some machines; it is no part of what is measured.
        TRY_VOID(bench_write(on_mount_, std::min<std::uint64_t>(sizes_.file, 256ULL << 20U)));
        return {};
    }

    result<void> measure() {
        for (unsigned round = 1; round <= rounds_; ++round) {
            say(fmt::format("round {} of {}", round, rounds_));
            TRY_VOID(large_file());
            TRY_VOID(random_access());
            TRY_VOID(small_files());
            TRY_VOID(names());
            TRY(const double loopback, bench_loopback(std::max<std::uint64_t>(sizes_.file, 1ULL << 30U)));
            loopback_.push_back(static_cast<double>(std::max<std::uint64_t>(sizes_.file, 1ULL << 30U)) / 1e6 /
                                loopback);
        }
        TRY(const auto last, used());
        memory_peak_ = std::max(memory_peak_, last.memory_peak);
        return {};
    }

    result<void> large_file() {
        const double megabytes = static_cast<double>(sizes_.file) / 1e6;
        TRY(const double disk, bench_write(on_disk_, sizes_.file));
        write_.disk.push_back(megabytes / disk);
        if (discard_) {
            TRY(const double discard, bench_write(discard_->path(), sizes_.file));
            write_.discard.push_back(megabytes / discard);
        }
        TRY(const auto direct, bench_disk(on_disk_, sizes_.file));
        disk_write_.push_back(megabytes / direct.write);
        disk_read_.push_back(megabytes / direct.read);
        TRY_VOID(let_links_fill());
        TRY(const auto before, used());
        TRY(const double mount, bench_write(on_mount_, sizes_.file));
        TRY(const auto after, used());
        write_.mount.push_back(megabytes / mount);
        write_cost_ = cost(before, after);

        drop_kernel_caches();
        TRY(const double disk_read, bench_read(on_disk_, sizes_.file));
        read_.disk.push_back(megabytes / disk_read);
        if (discard_) {
            drop_kernel_caches();
            TRY(const double discard_read, bench_read(discard_->path(), sizes_.file));
            read_.discard.push_back(megabytes / discard_read);
        }
        TRY_VOID(let_links_fill());
        TRY_VOID(make_cold());
        TRY(const auto before_read, used());
        TRY(const double mount_read, bench_read(on_mount_, sizes_.file));
        TRY(const auto after_read, used());
        read_.mount.push_back(megabytes / mount_read);
        read_cost_ = cost(before_read, after_read);
        return {};
    }

    result<void> random_access() {
        TRY_VOID(let_links_fill());
        TRY(const auto disk, bench_random_write(on_disk_, sizes_.seconds));
        random_write_.disk.push_back(disk.per_second);
        sync_p50_.disk.push_back(disk.p50_ms);
        sync_p99_.disk.push_back(disk.p99_ms);
        TRY(const auto mount, bench_random_write(on_mount_, sizes_.seconds));
        random_write_.mount.push_back(mount.per_second);
        sync_p50_.mount.push_back(mount.p50_ms);
        sync_p99_.mount.push_back(mount.p99_ms);
        TRY(const double disk_read, bench_random_read(on_disk_, sizes_.seconds, true));
        random_read_.disk.push_back(disk_read);
        TRY_VOID(make_cold());
        TRY(const double mount_read, bench_random_read(on_mount_, sizes_.seconds, false));
        random_read_.mount.push_back(mount_read);
        return {};
    }

    result<void> small_files() {
        TRY_VOID(let_links_fill());
        const auto at = [this](row& rsync, std::vector<double> row::* column,
                               const path_fs::path& directory) -> result<void> {
            TRY(const double seconds, bench_rsync(on_disk_ / "source", directory));
            (rsync.*column).push_back(seconds);
            return {};
        };
        TRY_VOID(at(rsync_, &row::disk, on_disk_));
        if (discard_) TRY_VOID(at(rsync_, &row::discard, discard_->path()));
        TRY_VOID(at(rsync_, &row::mount, on_mount_));
        drop_kernel_caches();
        TRY(const double disk_tar, bench_tar_read(on_disk_ / "small"));
        tar_.disk.push_back(disk_tar);
        TRY_VOID(make_cold());
        TRY(const double mount_tar, bench_tar_read(on_mount_ / "small"));
        tar_.mount.push_back(mount_tar);
        TRY(const double disk_remove, bench_remove(on_disk_ / "small"));
        remove_.disk.push_back(disk_remove);
        if (discard_) TRY_VOID(bench_remove(discard_->path() / "small"));
        TRY(const double mount_remove, bench_remove(on_mount_ / "small"));
        remove_.mount.push_back(mount_remove);
        return {};
    }

    /// Small files and names one call at a time.
    result<void> names() {
        TRY_VOID(let_links_fill());
        TRY_VOID(names_at(on_disk_, &row::disk));
        if (discard_) TRY_VOID(names_at(discard_->path(), &row::discard));
        TRY(const auto before, used());
        TRY(const auto bytes, names_at(on_mount_, &row::mount));
        TRY_VOID(bench_command({"sync", (on_mount_ / "made").string()}));
        TRY(const auto after, used());
        const double fair = 3 * static_cast<double>(bytes) + 1536.0 * sizes_.small_files;
        create_pad_ = static_cast<double>(after.pad - before.pad) / fair;
        for (const auto& [directory, column] : {std::pair(on_disk_, &row::disk), std::pair(on_mount_, &row::mount)}) {
            drop_kernel_caches();
            TRY(const double lookups, bench_stat(directory / "made", sizes_.small_files));
            (lookup_.*column).push_back(sizes_.small_files / lookups);
            TRY(const double stats, bench_stat(directory / "made", sizes_.small_files));
            (stat_.*column).push_back(sizes_.small_files / stats);
            TRY(const auto renames, bench_rename(directory, sizes_.seconds));
            (rename_.*column).push_back(renames.per_second);
            TRY_VOID(bench_remove(directory / "made"));
        }
        if (discard_) TRY_VOID(bench_remove(discard_->path() / "made"));
        return {};
    }
    result<std::uint64_t> names_at(const path_fs::path& directory, std::vector<double> row::* column) {
        TRY(const auto made, make_small_files(directory / "made", sizes_.small_files));
        (create_.*column).push_back(sizes_.small_files / made.seconds);
        return made.bytes;
    }

    /// In earnest key is made elsewhere; here the dealer has the same cores: it deals before something is measured, and
    /// not meanwhile, if the links can hold as much key as that takes. (Simulated KMEs go on.)
    result<void> let_links_fill() {
        go_on_dealing();
        const deadline until = steady_clock::now() + std::chrono::minutes(3);
        std::uint64_t all = 0, least = 0;
        for (unsigned still = 0; still < 4 && steady_clock::now() < until;) {
            const std::uint64_t before = std::exchange(all, 0);
            least = ~std::uint64_t{0};
            for (const auto& link : core_.wait_for(link_stocks(where_.sites))) {
                all += link.available;
                least = std::min(least, link.available);
            }
            still = all > before ? 0 : still + 1;
            std::this_thread::sleep_for(std::chrono::milliseconds(500));
        }
        const auto wanted = static_cast<std::uint64_t>(static_cast<double>(sizes_.file) * 1.03) + key_kept;
        if (where_.settings.simulated_kmes || least < wanted) {
            was_dealt_meanwhile_ = true;
            return {};
        }
        const auto self = identity_of(::getpid());
        if (!self) return fail(errc::io_error, "/proc is not mounted");
        TRY_VOID(write_pid_file(where_.layout.dealer_pause(), *self));
        std::this_thread::sleep_for(std::chrono::milliseconds(500));  // a step that is under way ends
        return {};
    }
    void go_on_dealing() const {
        std::error_code ec;
        path_fs::remove(where_.layout.dealer_pause(), ec);
    }

    /// A fresh mount and a kernel that remembers nothing: what is read then comes from k sites.
    result<void> make_cold() {
        TRY(const auto before, used());
        memory_peak_ = std::max(memory_peak_, before.memory_peak);
        TRY_VOID(unmount({where_.layout.root(), false, std::chrono::seconds(600)}));
        drop_kernel_caches();
        mount_arguments mount;
        mount.config = where_.layout.root();
        mount.mountpoint = where_.layout.mount_point();
        TRY_VOID(spawn_mount(mount, volume_place{where_.volume, where_.layout}));
        return {};
    }

    result<usage> used() const {
        TRY(const auto status, ask_control(where_.volume.run / "mount.sock", "status", std::chrono::seconds(30)));
        usage out;
        for (const auto& link : status.value("links", ordered_json::array()))
            out.pad += link.value("sent_bytes", std::uint64_t{0}) + link.value("received_bytes", std::uint64_t{0});
        out.random = status.value("volume", ordered_json::object()).value("random_bytes", std::uint64_t{0});
        out.memory_peak = status.value("counters", ordered_json::object()).value("memory_peak_bytes", std::uint64_t{0});
        std::vector<path_fs::path> files = {where_.layout.mount_pid()};
        for (const auto& site : where_.sites) {
            files.push_back(where_.layout.keyd_pid(site.name));
            files.push_back(where_.layout.server_pid(site.name));
        }
        for (const auto& file : files) {
            const auto running = running_process(file);
            if (running && *running) out.cpu += cpu_seconds((*running)->pid);
        }
        return out;
    }

    struct costs {
        double pad = 0, random = 0;  // bytes for each user byte
        double cpu_per_gb = 0;       // seconds, all processes of the deployment
    };
    costs cost(const usage& before, const usage& after) const {
        const auto bytes = static_cast<double>(sizes_.file);
        return {static_cast<double>(after.pad - before.pad) / bytes,
                static_cast<double>(after.random - before.random) / bytes, (after.cpu - before.cpu) / (bytes / 1e9)};
    }

    void say(const std::string& text) const { fmt::print(stderr, "bench: {}\n", text); }
    std::vector<const row*> rows() const {
        return {&write_,    &read_,     &rsync_,  &tar_,    &random_write_, &random_read_, &remove_,
                &sync_p50_, &sync_p99_, &rename_, &create_, &lookup_,       &stat_};
    }

    deployment where_;
    bench_sizes sizes_;
    unsigned rounds_;
    core_thread core_;
    bool was_dealt_meanwhile_ = false;
    path_fs::path on_mount_, on_disk_;
    std::optional<discard_mount> discard_;
    row write_{"write one file + fsync", "MB/s", ">= 445", {}, {}, {}};
    row read_{"read it back cold", "MB/s", ">= 628 or 90 % of disk/k", {}, {}, {}};
    row rsync_{"rsync -a of small files", "s", "<= 4 (5,000 files)", {}, {}, {}};
    row tar_{"tar-read of these, cold", "s", "<= 2 (5,000 files)", {}, {}, {}};
    row random_write_{"4 KiB random write + fsync each", "/s", ">= 1500", {}, {}, {}};
    row random_read_{"4 KiB random read, cold, one at a time", "/s", ">= 4000", {}, {}, {}};
    row remove_{"rm -rf of these", "s", "<= 0.5 (5,000 files)", {}, {}, {}};
    row sync_p50_{"fsync of a 4 KiB change, p50", "ms", "<= 1", {}, {}, {}};
    row sync_p99_{"fsync of a 4 KiB change, p99", "ms", "<= 5", {}, {}, {}};
    row rename_{"rename + fsync of the directory", "/s", ">= 800", {}, {}, {}};
    row create_{"create + write + close of small files", "/s", ">= 2000", {}, {}, {}};
    row lookup_{"lookup of these, the kernel's caches dropped", "/s", ">= 10000", {}, {}, {}};
    row stat_{"stat of these", "/s", ">= 100000", {}, {}, {}};
    std::vector<double> loopback_, disk_write_, disk_read_;  // MB/s
    costs write_cost_, read_cost_;
    double create_pad_ = 0;  // of three times the bytes and 1.5 KiB for each file
    std::uint64_t memory_peak_ = 0;
};

std::string bench_run::table() const {
    const auto cell = [](const std::vector<double>& values, const std::string& unit) {
        if (values.empty()) return std::string("-");
        const double value = median(values);
        return fmt::format("{:.{}f} {}", value, unit == "s" || unit == "ms" ? 2 : 0, unit);
    };
    std::vector<std::vector<std::string>> out = {{"WORK", "WARIFU", "DISK", "FUSE, DATA DISCARDED", "GOAL"}};
    for (const row* one : rows())
        out.push_back({one->work, cell(one->mount, one->unit), cell(one->disk, one->unit),
                       cell(one->discard, one->unit), one->goal});
    out.push_back({"memory of the mount (peak)", size_text(memory_peak_), "", "", "<= 576 MiB"});
    std::string text =
        fmt::format("{} file, {} small files, {} of {} sites, medians of {} rounds\n\n", size_text(sizes_.file),
                    sizes_.small_files, where_.volume.threshold, where_.volume.sites.size(), rounds_);
    text += was_dealt_meanwhile_ ? "key was made on the same cores while something was measured\n\n"
                                 : "key was in stock, none was made while something was measured\n\n";
    text += table_text(out);
    text += fmt::format("\nloopback TCP, one connection: {:.0f} MB/s\n", median(loopback_));
    text += fmt::format(
        "the disk as stores use it (O_DIRECT, 1 MiB, 16 under way): write {:.0f} MB/s, read {:.0f} MB/s; "
        "here a byte of a file is {} written and {} read\n",
        median(disk_write_), median(disk_read_), where_.volume.sites.size(), where_.volume.threshold);
    text += fmt::format("write: {:.2f} pad bytes and {:.2f} random bytes per user byte, {:.2f} CPU seconds per GB\n",
                        write_cost_.pad, write_cost_.random, write_cost_.cpu_per_gb);
    text += fmt::format(
        "read:  {:.2f} pad bytes per user byte, {:.2f} CPU seconds per GB (mount, share servers and keyds)\n",
        read_cost_.pad, read_cost_.cpu_per_gb);
    text +=
        fmt::format("a small file: {:.2f} of three times its bytes and 1.5 KiB in pad (goal <= 1.2)\n", create_pad_);
    const bool gluster = path_fs::exists("/usr/sbin/glusterd");
    text += gluster ? "GlusterFS is installed here, but this program does not drive it: not measured\n"
                    : "GlusterFS is not installed: not measured\n";
    if (::geteuid() != 0)
        text += "the kernel's caches could not be dropped (only root may): the disk's reads are not cold\n";
    return text;
}

ordered_json bench_run::json() const {
    ordered_json out;
    for (const row* one : rows()) {
        out["rows"].push_back(
            {{"work", one->work},
             {"unit", one->unit},
             {"goal", one->goal},
             {"warifu", median(one->mount)},
             {"disk", median(one->disk)},
             {"fuse_discard", one->discard.empty() ? ordered_json() : ordered_json(median(one->discard))}});
    }
    out["loopback_mb_per_second"] = median(loopback_);
    out["disk_direct"] = {{"write_mb_per_second", median(disk_write_)}, {"read_mb_per_second", median(disk_read_)}};
    out["memory_peak_bytes"] = memory_peak_;
    out["write"] = {{"pad_per_byte", write_cost_.pad},
                    {"random_per_byte", write_cost_.random},
                    {"cpu_seconds_per_gb", write_cost_.cpu_per_gb}};
    out["read"] = {{"pad_per_byte", read_cost_.pad}, {"cpu_seconds_per_gb", read_cost_.cpu_per_gb}};
    out["small_file"] = {{"pad_of_three_times_the_bytes_and_1536", create_pad_}};
    return out;
}

}  // namespace

void add_bench_command(cli& c) {
    auto* command = cli::command(
        c.app, "bench", "Measure a deployment beside the limits of this machine",
        "  warifu bench /srv/demo\n"
        "  warifu bench /srv/demo --quick --json\n"
        "Works in DIR/mnt/.bench and mounts anew before each cold read: nobody else should use it\n"
        "meanwhile. Give it key for the file: 'warifu up DIR --key-source dealer --pads 1200M --pad-dir /dev/shm/p'.");
    struct arguments {
        path_fs::path directory;
        bool quick = false, json = false;
        unsigned rounds = 3;
    };
    const auto given = std::make_shared<arguments>();
    command->add_option("DIR", given->directory, "a deployment that is up")->required();
    command->add_flag("--quick", given->quick, "small sizes, one round");
    command->add_option("--rounds", given->rounds, "how often everything is measured")->check(CLI::Range(1, 21));
    command->add_flag("--json", given->json, "as JSON");
    c.run(command, [given]() -> result<int> {
        TRY(auto where, load_deployment(given->directory));
        bench_run bench(std::move(where), given->quick ? bench_sizes::quick() : bench_sizes{},
                        given->quick ? 1 : given->rounds);
        TRY_VOID(bench.run());
        if (given->json)
            fmt::print("{}\n", bench.json().dump(2));
        else
            fmt::print("{}", bench.table());
        return exit_ok;
    });
    add_discard_mount_command(c);
}

}  // namespace warifu
