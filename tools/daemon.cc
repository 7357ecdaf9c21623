#include "tools/daemon.h"

#include <boost/asio/signal_set.hpp>
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "fs/base/harden.h"
#include "tools/exit_code.h"

namespace warifu {

void add_daemon_options(CLI::App* command, daemon_options& options) {
    command->add_option("--ready-fd", options.ready_fd, "descriptor to report readiness on")->group("");
    command->add_option("--pid-file", options.pid_file, "where to write \"PID START\"")->group("");
}

result<void> prepare_daemon(const daemon_options& options, std::string_view name) {
    TRY_VOID(harden_process());
    auto logger =
        std::make_shared<spdlog::logger>(std::string(name), std::make_shared<spdlog::sinks::stderr_sink_mt>());
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %n: %v");
    logger->flush_on(spdlog::level::info);
    spdlog::set_default_logger(std::move(logger));
    if (options.pid_file.empty()) return {};
    TRY(const auto other, running_process(options.pid_file));
    if (other) {
        return fail(errc::busy,
                    fmt::format("{}: process {} is running already", options.pid_file.string(), other->pid));
    }
    const auto self = identity_of(::getpid());
    if (!self) return fail(errc::io_error, "/proc is not mounted");
    return write_pid_file(options.pid_file, *self);
}

void forget_daemon(const daemon_options& options) {
    if (options.pid_file.empty()) return;
    const auto named = running_process(options.pid_file);
    if (named && *named && (*named)->pid == ::getpid()) ::unlink(options.pid_file.c_str());
}

namespace {

/// Two parameters by value that a coroutine needs beyond its caller's frame.
awaitable<void> run_work(asio::io_context& core, const daemon_work& work, std::shared_ptr<event> stop,
                         daemon_ready ready, result<void>& outcome, boost::asio::signal_set& signals) {
    outcome = co_await work(core, std::move(stop), std::move(ready));
    signals.cancel();
}

}  // namespace

result<int> run_daemon(const daemon_options& options, std::string_view name, const daemon_work& work) {
    const auto ready = std::make_shared<ready_signal>(options.ready_fd);
    result<void> outcome = prepare_daemon(options, name);
    if (!outcome) {
        ready->failed(outcome.error());
        return fail(std::move(outcome).error());
    }
    asio::io_context core(1);
    const auto stop = std::make_shared<event>(core.get_executor());
    boost::asio::signal_set signals(core, SIGTERM, SIGINT);
    signals.async_wait([stop](boost::system::error_code ec, int) {
        if (!ec) stop->set();
    });
    spdlog::info("starts, version {}", WARIFU_VERSION);
    const daemon_ready say_ready = [ready] {
        spdlog::info("ready");
        ready->ready();
    };
    asio::co_spawn(core, run_work(core, work, stop, say_ready, outcome, signals), asio::detached);
    core.run();
    forget_daemon(options);
    if (!outcome) {
        spdlog::error("ends: {}", outcome.error().message());
        ready->failed(outcome.error());
        return fail(std::move(outcome).error());
    }
    spdlog::info("ends");
    return exit_ok;
}

}  // namespace warifu
