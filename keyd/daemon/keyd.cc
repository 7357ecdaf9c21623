// Start, stop, imports, erasure and status.
#include "keyd/daemon/keyd.h"

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/buffer.h"
#include "fs/base/harden.h"
#include "fs/base/limits.h"
#include "keyd/daemon/pad_file_source.h"
#include "keyd/openmetrics.h"

namespace warifu {
namespace {

constexpr auto stop_timeout = std::chrono::seconds(10);
constexpr int imports_in_a_row_max = 16;
constexpr std::uint32_t import_wait_ms = 60'000;  // then a block that was delivered is taken for refused
constexpr unsigned random_failures_max = 3;       // health tests in a row, then the source is given up

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
      loop_ended_(core_),
      stop_wanted_(core_) {}

keyd::~keyd() = default;

result<std::shared_ptr<keyd>> keyd::start(asio::any_io_executor core, keyd_options options) {
    pool_options store;
    store.directory = options.directory;
    store.blocks_directory = options.blocks_directory;
    store.site = options.site;
    store.peers = options.peers;
    store.control_reserve = options.control_reserve;
    store.bulk_reserve = options.bulk_reserve.value_or(options.control_reserve);
    store.keep_windows = true;
    TRY(auto opened, pool::open(std::move(store)));
    if (opened->lost_bytes() != 0)
        spdlog::warn("keyd {}: {} bytes of key are lost: their files are gone or damaged", options.site,
                     opened->lost_bytes());
    TRY(auto listener, listen_local(keyd_socket_path(options), options.group));
    std::shared_ptr<keyd> out(new keyd(std::move(core), std::move(options), std::move(opened), std::move(listener)));
    out->sources_.push_back(std::make_unique<pad_file_source>(out->pool_->incoming_directory()));
    for (const auto& directory : out->options_.incoming)
        out->sources_.push_back(std::make_unique<pad_file_source>(directory));
    if (!out->options_.metrics.empty()) {
        const std::weak_ptr<keyd> weak = out;
        const auto text = [weak] {
            const auto self = weak.lock();
            return self ? openmetrics_of(self->describe()) : std::string();
        };
        TRY(out->metrics_, metrics_server::start(out->core_, out->options_.metrics, text));
    }
    out->take_over_windows();
    if (out->options_.listen || !out->options_.links.empty()) {
        TRY(out->links_, keyd_links::start(out->core_, out->options_.site, out->options_.directory,
                                           out->options_.listen, out->options_.links, *out));
        out->opened_at_ = out->pool_->opened_sequence();
        if (!out->links_->services().empty()) out->witnesses_until_ = deadline_in_ms(out->options_.witness_wait_ms);
    }
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
    spawn(tidy_loop());
    spawn(erase_loop());
    if (options_.random) {
        filler_ = std::make_shared<random_filler>(*options_.random, options_.site, pool_->incoming_directory());
        spawn(fill_random());
    }
    if (!unclaimed_.empty()) spawn(burn_unclaimed());
    if (waits_for_witnesses()) spawn(end_waiting_for_witnesses());
    erase_wanted_.set();
}

/// Pad windows that were out when the last keyd ended: their consumers may live, use them and say in the end how much.
void keyd::take_over_windows() {
    for (const auto& stream : pool_->state().streams()) {
        for (const auto& [offset, window] : stream.open) {
            const held_window held{window.range, window.session};
            unclaimed_.emplace(window_place(stream.name, offset), held);
            take(stream.name, held);
        }
    }
}

awaitable<void> keyd::burn_unclaimed() {
    co_await stop_wanted_.wait(deadline_in_ms(options_.reclaim_ms));
    if (stopping_) co_return;
    if (!unclaimed_.empty())
        spdlog::warn("keyd {}: {} windows are burnt: their consumers did not come back", options_.site,
                     unclaimed_.size());
    for (const auto& [place, window] : std::exchange(unclaimed_, {})) burn(place.first, window);
    wake_waiters();
}

awaitable<void> keyd::stop() {
    const auto self = shared_from_this();
    if (std::exchange(stop_begun_, true)) co_return;
    const deadline until = steady_clock::now() + stop_timeout;
    if (links_ && !co_await links_->stop(until)) asio::co_spawn(core_, outlast_links(self), asio::detached);
    stopping_ = true;
    boost::system::error_code ignored;
    listener_.close(ignored);
    ::unlink(keyd_socket_path(options_).c_str());
    while (!clients_.empty()) drop(*clients_.begin());
    wake_waiters();
    import_wanted_.set();
    erase_wanted_.set();
    stop_wanted_.set();
    *stop_reading_ = true;
    if (metrics_) metrics_->stop();
    co_await loop_ended_.wait(until);
    const auto erased = pool_->erase_now();
    if (!erased) spdlog::error("keyd {}: {}", options_.site, erased.error().message());
}

/// Links that do not end in time refer to their keyd.
awaitable<void> keyd::outlast_links(std::shared_ptr<keyd> self) {
    co_await self->links_->stop(deadline::max());
}

awaitable<bool> keyd::ledger_fails() {
    const auto self = shared_from_this();
    while (!stopping_ && !pool_->log().has_failed())
        co_await stop_wanted_.wait(deadline_in_ms(ledger_look_interval_ms));
    co_return pool_->log().has_failed();
}

awaitable<void> keyd::import_loop() {
    while (!stopping_) {
        bool any = false;
        for (std::size_t i = 0; i < sources_.size() && !stopping_; ++i) any = co_await import_from(*sources_[i]) || any;
        if (!any) imports_settled_ = true;
        if (any || stopping_) continue;
        co_await import_wanted_.wait(deadline_in_ms(options_.poll_ms));
        import_wanted_.reset();
    }
}

/// Memory of consumers that fell silent is let go.
awaitable<void> keyd::tidy_loop() {
    while (!stopping_) {
        co_await stop_wanted_.wait(deadline_in_ms(mapping_idle_max_ms));
        asio::post(copier_, [this] { handover_.forget_idle(); });
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
    const stream_name name = found.header.stream;
    const std::uint64_t data_bytes = found.header.range.end() - found.header.data_begin();
    auto work = [found = std::move(found), directory = pool_->blocks_directory()] {
        return stage_block(found, directory);
    };
    auto staged = co_await run_in(keeper_, std::move(work));
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
    flows_[name].in.add(static_cast<double>(data_bytes), steady_clock::now());
    last_import_error_.clear();
    wake_waiters();
    erase_wanted_.set();
    co_return source.consumed(id);
}

/// On a disk reading for consumers goes before erasing, for a while.
awaitable<void> keyd::wait_for_pause() {
    const auto latest = deadline_in_ms(options_.erase_delay_max_ms);
    const auto next = [&] {
        return std::min(latest, handover_.last_disk_read() + std::chrono::milliseconds(options_.erase_pause_ms));
    };
    while (!stopping_ && steady_clock::now() < next()) co_await stop_wanted_.wait(next());
}

awaitable<void> keyd::erase_loop() {
    while (!stopping_) {
        co_await erase_wanted_.wait();
        co_await wait_for_pause();
        erase_wanted_.reset();
        for (auto& job : pool_->take_erasures()) {
            auto work = [job] { return run_erasure(job); };
            auto done = co_await run_in(keeper_, std::move(work));
            if (done) done = pool_->erased(job);
            if (done) continue;
            pool_->erase_failed(job);
            ++count_.erasures_failed;
            spdlog::error("keyd {}: {}", options_.site, done.error().message());
        }
    }
}

/// Keeps the random pool between half of its target and all of it.
awaitable<void> keyd::fill_random() {
    const stream_name own{options_.site, options_.site};
    const std::uint64_t target = filler_->options().target;
    bool filling = false;
    std::uint64_t delivered_to = 0;  // where the last block ends that was made here
    deadline given_up = steady_clock::now();
    while (!stopping_) {
        const auto index = pool_->state().find(own);
        std::uint64_t end = 0;
        if (index < pool_->state().streams().size())
            if (const auto ever = pool_->state().streams()[index].ever.intervals(); !ever.empty())
                end = ever.back().end;
        filling = pool_->available(own) < (filling ? target : (target + 1) / 2);
        const bool is_in = delivered_to <= end || steady_clock::now() > given_up;
        if (!filling || !is_in || !imports_settled_) {
            co_await stop_wanted_.wait(deadline_in_ms(options_.poll_ms));
            continue;
        }
        const std::uint64_t offset = std::max(delivered_to, end);
        const bool made = co_await fill_one_block(offset);
        if (made) delivered_to = offset + filler_->options().block_size;
        given_up = deadline_in_ms(import_wait_ms);
        if (made) import_wanted_.set();
        if (random_failures_ >= random_failures_max) co_return;
        const auto& limits = filler_->options();
        if (!made)
            co_await stop_wanted_.wait(deadline_in_ms(random_failures_ != 0 ? limits.retry_ms : limits.reopen_ms));
    }
}

awaitable<bool> keyd::fill_one_block(std::uint64_t offset) {
    auto work = [filler = filler_, offset, stop = stop_reading_] { return filler->make_block(offset, stop); };
    const auto made = co_await run_in(reader_, std::move(work));
    if (made) {
        random_error_.clear();
        random_failures_ = 0;
        co_return true;
    }
    if (made.error().code == errc::cancelled) co_return false;
    if (random_error_ != made.error().text)
        spdlog::error("keyd {}: random source: {}", options_.site, made.error().text);
    random_error_ = made.error().text;
    if (made.error().code != errc::bad_tag) {
        random_failures_ = 0;
        co_return false;
    }
    ++count_.health_tests_failed;
    if (++random_failures_ >= random_failures_max) random_error_ += ": stopped until keyd is restarted";
    co_return false;
}

namespace {

awaitable<void> stop_on_signal(std::shared_ptr<asio::signal_set> signals, std::shared_ptr<keyd> daemon) {
    co_await signals->async_wait(use_values);
    co_await daemon->stop();
}

awaitable<void> stop_on_failed_ledger(std::shared_ptr<asio::signal_set> signals, std::shared_ptr<keyd> daemon,
                                      bool* failed) {
    *failed = co_await daemon->ledger_fails();
    signals->cancel();  // stops it
}

}  // namespace

result<void> run_keyd(keyd_options options, std::function<void()> on_ready) {
    ::umask(0077);
    TRY_VOID(harden_process());
    set_buffer_memory(keyd_buffer_memory_max);
    asio::io_context core(1);
    const auto signals = std::make_shared<asio::signal_set>(core, SIGTERM, SIGINT);
    const std::string site = options.site;
    bool failed = false;
    {
        TRY(const auto daemon, keyd::start(core.get_executor(), std::move(options)));
        asio::co_spawn(core, stop_on_signal(signals, daemon), asio::detached);
        asio::co_spawn(core, stop_on_failed_ledger(signals, daemon, &failed), asio::detached);
    }
    spdlog::info("keyd {}: ready", site);
    if (on_ready) on_ready();
    core.run();
    spdlog::info("keyd {}: stopped", site);
    // Who watches over the process starts another, which reads back what has reached the medium.
    if (failed) return fail(errc::io_error, "keyd " + site + ": the ledger could not be written any more");
    return {};
}

}  // namespace warifu
