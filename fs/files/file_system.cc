// The blocking forms, for tools and tests.

#include "fs/files/file_system.h"

namespace warifu {
namespace {

awaitable<result<std::vector<slice>>> fetch_plan(file_system* files, read_plan plan) {
    co_return co_await files->fetch(std::move(plan));
}

awaitable<result<void>> wait_room(file_system* files, std::uint64_t size) {
    co_return co_await files->wait_for_room(size, nullptr);
}

awaitable<result<void>> finish(file_system* files, std::uint64_t ticket) {
    co_return co_await files->finish_sync(ticket);
}

}  // namespace

result<std::vector<slice>> file_system::read(asio::io_context& core, file_handle handle, std::uint64_t offset,
                                             std::uint64_t size) {
    TRY(auto plan, plan_read(handle, offset, size));
    return asio::co_spawn(core, fetch_plan(this, std::move(plan)), asio::use_future).get();
}

result<void> file_system::write_all(asio::io_context& core, file_handle handle, std::uint64_t offset,
                                    bytes_view bytes) {
    for (;;) {
        TRY(const auto taken, write(handle, offset, bytes, false));
        const std::uint64_t left = bytes.size() - taken.size;
        if (taken.wait) TRY_VOID(asio::co_spawn(core, wait_room(this, left), asio::use_future).get());
        if (taken.size == bytes.size()) return {};
    }
}

result<void> file_system::sync(asio::io_context& core, file_handle handle) {
    TRY(const auto ticket, begin_sync(handle));
    return asio::co_spawn(core, finish(this, ticket), asio::use_future).get();
}

}  // namespace warifu
