// Start, stop, imports, erasure and status.
#include "keyd/daemon/keyd.h"

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/harden.h"
#include "fs/base/limits.h"
#include "keyd/daemon/pad_file_source.h"

namespace warifu {
namespace {

constexpr auto stop_timeout = std::chrono::seconds(10);
constexpr int imports_in_a_row_max = 16;

std::string_view direction_of(const stream_name& stream, const std::string& site) {
    if (stream.sender == stream.receiver) return "random";
    return stream.sender == site ? "out" : "in";
}

}  // namespace

std::string keyd_socket_path(const keyd_options& options) {
    return options.socket_path.empty() ? options.directory + "/keyd.sock" : options.socket_path;
}

keyd::keyd(asio::any_io_executor core, keyd_options options, std::unique_ptr<pool> store, unique_fd listener)
    : core_(std::move(core)),
      options_(std::move(options)),
      pool_(std::move(store)),
      listener_(core_, listener.release()),
      import_wanted_(core_),
      erase_wanted_(core_),
      loop_ended_(core_) {}

keyd::~keyd() = default;

result<std::shared_ptr<keyd>> keyd::start(asio::any_io_executor core, keyd_options options) {
    pool_options store;
    store.directory = options.directory;
    store.blocks_directory = options.blocks_directory;
    store.site = options.site;
    store.peers = options.peers;
    store.control_reserve = options.control_reserve;
    TRY(auto opened, pool::open(std::move(store)));
    if (opened->lost_bytes() != 0)
        spdlog::warn("keyd {}: {} bytes of key are lost: their files are gone or damaged", options.site,
                     opened->lost_bytes());
    TRY(auto listener, listen_local(keyd_socket_path(options), options.group));
    std::shared_ptr<keyd> out(new keyd(std::move(core), std::move(options), std::move(opened), std::move(listener)));
    out->sources_.push_back(std::make_unique<pad_file_source>(out->pool_->incoming_directory()));
    for (const auto& directory : out->options_.incoming)
        out->sources_.push_back(std::make_unique<pad_file_source>(directory));
    out->run();
    return out;
}

void keyd::add_source(std::unique_ptr<pad_source> source) {
    sources_.push_back(std::move(source));
}

void keyd::run() {
    const auto spawn = [this](awaitable<void> loop) {
        ++loops_;
        asio::co_spawn(core_, std::move(loop), [self = shared_from_this()](std::exception_ptr thrown) {
            if (thrown) std::rethrow_exception(thrown);
            if (--self->loops_ == 0) self->loop_ended_.set();
        });
    };
    spawn(accept_loop());
    spawn(import_loop());
    spawn(erase_loop());
    erase_wanted_.set();
}

awaitable<void> keyd::stop() {
    const auto self = shared_from_this();
    stopping_ = true;
    boost::system::error_code ignored;
    listener_.close(ignored);
    ::unlink(keyd_socket_path(options_).c_str());
    while (!clients_.empty()) drop(*clients_.begin());
    wake_waiters();
    import_wanted_.set();
    erase_wanted_.set();
    co_await loop_ended_.wait(steady_clock::now() + stop_timeout);
    const auto erased = pool_->erase_now();
    if (!erased) spdlog::error("keyd {}: {}", options_.site, erased.error().message());
}

awaitable<void> keyd::import_loop() {
    while (!stopping_) {
        bool any = false;
        for (std::size_t i = 0; i < sources_.size() && !stopping_; ++i) any = co_await import_from(*sources_[i]) || any;
        if (!any && !stopping_)
            co_await import_wanted_.wait(steady_clock::now() + std::chrono::milliseconds(options_.poll_ms));
    }
}

/// True when something was taken and more may wait.
awaitable<bool> keyd::import_from(pad_source& source) {
    bool any = false;
    for (int i = 0; i < imports_in_a_row_max && !stopping_; ++i) {
        auto found = source.next();
        result<void> taken;
        if (found && !*found) break;
        if (found) {
            taken = co_await import_one(source, std::move(**found));
        } else {
            taken = fail(found.error());
            ++count_.imports_refused;
        }
        if (taken) {
            any = true;
            continue;
        }
        if (taken.error().text != last_import_error_)  // one that repeats with every poll is told once
            spdlog::warn("keyd {}: import: {}", options_.site, taken.error().message());
        last_import_error_ = taken.error().text;
        break;
    }
    co_return any;
}

awaitable<result<void>> keyd::import_one(pad_source& source, pad_source::delivery found) {
    const auto id = found.header.id;
    auto admitted = pool_->admits(found.header);
    if (!admitted && admitted.error().code == errc::busy) {
        source.postpone();
        co_return fail(errc::busy, found.path + ": " + admitted.error().text);
    }
    if (!admitted) {
        ++count_.imports_refused;
        CO_TRY_VOID(source.refused(id));
        co_return fail(admitted.error().code, found.path + ": refused: " + admitted.error().text);
    }
    const std::string path = found.path;
    auto work = [found = std::move(found), directory = pool_->blocks_directory()] {
        return stage_block(found, directory);
    };
    auto staged = co_await on_worker(keeper_, std::move(work));
    if (!staged) {
        const auto code = staged.error().code;
        if (code == errc::no_space || code == errc::io_error || code == errc::not_found) {
            source.postpone();
        } else {
            ++count_.imports_refused;
            CO_TRY_VOID(source.refused(id));
        }
        co_return fail(staged.error());
    }
    auto imported = pool_->import(*staged);
    if (!imported) {
        source.postpone();
        co_return fail(imported.error().code, path + ": " + imported.error().text);
    }
    ++count_.imports;
    last_import_error_.clear();
    wake_waiters();
    erase_wanted_.set();
    co_return source.consumed(id);
}

awaitable<void> keyd::erase_loop() {
    while (!stopping_) {
        co_await erase_wanted_.wait();
        erase_wanted_.reset();
        for (auto& job : pool_->take_erasures()) {
            auto work = [job] { return run_erasure(job); };
            auto done = co_await on_worker(keeper_, std::move(work));
            if (done) done = pool_->erased(job);
            if (done) continue;
            pool_->erase_failed(job);
            ++count_.erasures_failed;
            spdlog::error("keyd {}: {}", options_.site, done.error().message());
        }
    }
}

std::string keyd::status_json() const {
    auto streams = nlohmann::json::array();
    const std::int64_t now = realtime_ns();
    for (const auto& one : pool_->status()) {
        const double age = one.oldest_block_ns == 0 ? 0.0 : static_cast<double>(now - one.oldest_block_ns) / 1e9;
        streams.push_back({{"from", one.name.sender},
                           {"to", one.name.receiver},
                           {"direction", direction_of(one.name, options_.site)},
                           {"available_bytes", one.available},
                           {"held_bytes", one.held},
                           {"used_bytes", one.totals.used},
                           {"burnt_bytes", one.totals.burnt},
                           {"imported_bytes", one.totals.imported},
                           {"blocks", one.blocks},
                           {"hello_slots", one.hello_slots},
                           {"oldest_block_age_s", age},
                           {"end_offset", one.end},
                           {"claim", to_string(one.totals.weakest)}});
    }
    const double uptime = std::chrono::duration<double>(steady_clock::now() - started_).count();
    nlohmann::json out{{"site", options_.site},
                       {"claim", to_string(pool_->strength())},
                       {"incoming", pool_->incoming_directory()},
                       {"pid", ::getpid()},
                       {"uptime_s", uptime},
                       {"control_reserve_bytes", options_.control_reserve},
                       {"witness", "none: both ends restored from old copies together would not be seen"},
                       {"clients", clients_.size()},
                       {"waiting_claims", waiters_.size()},
                       {"held_bytes", held_bytes_},
                       {"lost_bytes", pool_->lost_bytes()},
                       {"imports", count_.imports},
                       {"failures",
                        {{"imports_refused", count_.imports_refused},
                         {"reads", count_.reads_failed},
                         {"erasures", count_.erasures_failed},
                         {"peers_refused", count_.peers_refused},
                         {"bad_messages", count_.bad_messages},
                         {"claims_timed_out", count_.claims_timed_out}}},
                       {"last_import_error", last_import_error_},
                       {"streams", std::move(streams)}};
    return out.dump();
}

namespace {

awaitable<void> stop_on_signal(std::shared_ptr<asio::signal_set> signals, std::shared_ptr<keyd> daemon) {
    co_await signals->async_wait(use_values);
    co_await daemon->stop();
}

}  // namespace

result<void> run_keyd(keyd_options options, std::function<void()> on_ready) {
    ::umask(0077);
    TRY_VOID(harden_process());
    asio::io_context core(1);
    const auto signals = std::make_shared<asio::signal_set>(core, SIGTERM, SIGINT);
    const std::string site = options.site;
    {
        TRY(const auto daemon, keyd::start(core.get_executor(), std::move(options)));
        asio::co_spawn(core, stop_on_signal(signals, daemon), asio::detached);
    }
    spdlog::info("keyd {}: ready", site);
    if (on_ready) on_ready();
    core.run();
    spdlog::info("keyd {}: stopped", site);
    return {};
}

}  // namespace warifu
