#include <gtest/gtest.h>

#include <vector>

#include "fs/async/fan_out.h"

namespace warifu {
namespace {

using std::chrono::milliseconds;

/// Runs one coroutine to its end on a context of its own.
template <typename Work>
void run(Work work) {
    asio::io_context context;
    auto done = asio::co_spawn(context, work(context), asio::use_future);
    context.run();
    done.get();
}

awaitable<void> set_later(event& e, milliseconds delay) {
    co_await sleep_for(delay);
    e.set();
}

awaitable<void> check_event(asio::io_context& context) {
    event e(context.get_executor());
    EXPECT_FALSE(co_await e.wait(steady_clock::now() + milliseconds(5)));
    asio::co_spawn(context, set_later(e, milliseconds(5)), asio::detached);
    EXPECT_TRUE(co_await e.wait(steady_clock::now() + std::chrono::seconds(10)));
    EXPECT_TRUE(co_await e.wait());
    e.reset();
    EXPECT_FALSE(co_await e.wait(steady_clock::now()));
}

TEST(event, waits_until_set_or_deadline) {
    run(check_event);
}

awaitable<void> wait_and_reset(event& e, int& woken) {
    if (co_await e.wait(steady_clock::now() + std::chrono::seconds(10))) ++woken;
    e.reset();
}

awaitable<void> check_event_with_two_waiting(asio::io_context& context) {
    event e(context.get_executor());
    int woken = 0;
    for (int i = 0; i < 2; ++i) asio::co_spawn(context, wait_and_reset(e, woken), asio::detached);
    co_await sleep_for(milliseconds(1));
    e.set();
    co_await sleep_for(milliseconds(1));
    EXPECT_EQ(woken, 2) << "the second finds it reset by the first, and was woken all the same";
}

TEST(event, a_reset_by_one_waiter_is_no_time_out_of_another) {
    run(check_event_with_two_waiting);
}

awaitable<void> hold(async_mutex& mutex, std::vector<int>& order, int number) {
    const auto lock = co_await mutex.lock();
    order.push_back(number);
    co_await sleep_for(milliseconds(1));
    order.push_back(number);
}

awaitable<void> check_mutex(asio::io_context& context) {
    async_mutex mutex(context.get_executor());
    std::vector<int> order;
    {
        const auto lock = co_await mutex.lock();
        for (int i = 0; i < 5; ++i) asio::co_spawn(context, hold(mutex, order, i), asio::detached);
        co_await sleep_for(milliseconds(1));
        EXPECT_TRUE(order.empty());
    }
    while (order.size() < 10) co_await sleep_for(milliseconds(1));
    EXPECT_EQ(order, (std::vector<int>{0, 0, 1, 1, 2, 2, 3, 3, 4, 4}));
}

TEST(async_mutex, admits_one_at_a_time_in_order) {
    run(check_mutex);
}

awaitable<void> use(byte_budget& budget, std::size_t size, std::size_t& high) {
    const auto lease = co_await budget.take(size);
    high = std::max(high, budget.in_use());
    co_await sleep_for(milliseconds(1));
}

awaitable<void> check_budget(asio::io_context& context) {
    byte_budget budget(context.get_executor(), 100);
    std::size_t high = 0;
    for (int i = 0; i < 20; ++i) asio::co_spawn(context, use(budget, 40, high), asio::detached);
    co_await sleep_for(milliseconds(1));
    while (budget.in_use() > 0) co_await sleep_for(milliseconds(1));
    EXPECT_EQ(high, 80U);
    const auto alone = co_await budget.take(1000);
    EXPECT_EQ(budget.in_use(), 1000U);
}

TEST(byte_budget, is_never_exceeded_but_by_one_oversized_request_alone) {
    run(check_budget);
}

task<int> answer_after(int value, milliseconds delay) {
    co_await sleep_for(delay);
    if (value < 0) co_return fail(errc::timed_out);
    co_return value;
}

awaitable<void> check_fan_out(asio::io_context& context) {
    fan_out<int> calls(context.get_executor());
    calls.start(0, answer_after(10, milliseconds(20)));
    calls.start(1, answer_after(11, milliseconds(1)));
    calls.start(2, answer_after(-1, milliseconds(1)));
    co_await calls.wait_change();
    EXPECT_GE(calls.done().size(), 1U);
    EXPECT_FALSE(calls.done().contains(0));
    co_await calls.wait_all();
    EXPECT_EQ(*calls.done().at(0), 10);
    EXPECT_EQ(*calls.done().at(1), 11);
    EXPECT_EQ(calls.done().at(2).error().code, errc::timed_out);
}

TEST(fan_out, collects_results_as_they_come) {
    run(check_fan_out);
}

awaitable<void> check_run_in(asio::io_context&) {
    asio::thread_pool pool(1);
    const auto self = std::this_thread::get_id();
    const auto other = co_await run_in(pool, [] { return std::this_thread::get_id(); });
    EXPECT_TRUE(self != other);
    EXPECT_TRUE(self == std::this_thread::get_id());
    pool.join();
}

awaitable<void> check_values_come_when_they_are_there(asio::io_context& context) {
    asio::thread_pool pool(1);
    std::promise<void> arrived;
    const auto first = start_in(pool, context.get_executor(), [] { return 1; });
    const auto second = start_in(pool, context.get_executor(), [has_arrived = arrived.get_future().share()] {
        return has_arrived.wait_for(std::chrono::seconds(20)) == std::future_status::ready;
    });
    const auto one = co_await first->take();
    EXPECT_EQ(*one, 1);
    arrived.set_value();
    const auto two = co_await second->take();
    EXPECT_TRUE(*two) << "a value waited for the next work of its thread";
    pool.join();
}

TEST(run_in, a_value_does_not_wait_for_the_next_work) {
    run(check_values_come_when_they_are_there);
}

TEST(run_in, works_elsewhere_and_resumes_here) {
    run(check_run_in);
}

}  // namespace
}  // namespace warifu
