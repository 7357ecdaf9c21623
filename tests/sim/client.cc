#include "tests/sim/client.h"

#include <algorithm>
#include <fmt/format.h>

#include "fs/async/fan_out.h"

namespace warifu::sim {
namespace {

constexpr const char* marker = "user.change";

}  // namespace

byte_vector content_of(std::uint64_t number, std::uint32_t size) {
    byte_vector bytes(size);
    for (std::size_t i = 0; i < size; ++i)
        bytes[i] = static_cast<std::byte>((i * 31 + number * 97 + (i >> 8U)) & 0xffU);
    return bytes;
}

std::map<std::string, std::uint64_t> chronicle::files_after(std::uint64_t number) const {
    std::vector<std::uint64_t> line;
    for (; number != 0; number = changes_[number].parent) line.push_back(number);
    std::map<std::string, std::uint64_t> files;
    for (auto it = line.rbegin(); it != line.rend(); ++it) {
        if (changes_[*it].removes)
            files.erase(changes_[*it].name);
        else
            files[changes_[*it].name] = *it;
    }
    return files;
}

bool chronicle::leads_to(std::uint64_t earlier, std::uint64_t later) const {
    while (later > earlier) later = changes_[later].parent;
    return later == earlier;
}

void chronicle::acknowledged(std::uint64_t number) {
    ++acknowledged_count;
    if (leads_to(number, committed_)) return;
    if (!leads_to(committed_, number))
        break_off(fmt::format("change {} was acknowledged, but another line goes on with {}", number, committed_));
    committed_ = number;
}

void chronicle::opened(std::uint64_t number, std::uint64_t before) {
    ++opened_count;
    if (!leads_to(before, number))
        break_off(fmt::format("an opening found change {}; {} was durable and is lost", number, before));
    if (leads_to(number, committed_)) return;  // somebody else opened it and went on since
    if (!leads_to(committed_, number))
        break_off(fmt::format("an opening found change {}, but another line goes on with {}", number, committed_));
    committed_ = number;
}

void chronicle::shown(std::uint64_t number, std::uint64_t before) {
    ++shown_count;
    if (!leads_to(before, number)) break_off(fmt::format("a reader was shown {}, then {}", before, number));
    shown_.insert(number);
}

void chronicle::end() {
    for (const std::uint64_t number : shown_)
        if (!leads_to(number, committed_))
            break_off(fmt::format("change {} was shown to a reader and is lost", number));
}

client::client(asio::io_context& core, std::shared_ptr<world_state> world, chronicle& book, volume_options options)
    : core_(core),
      world_(std::move(world)),
      book_(book),
      options_(std::move(options)),
      state_(std::make_shared<client_state>(core.get_executor())),
      puts_(core.get_executor()),
      idle_(core.get_executor()),
      shut_(core.get_executor()) {
    state_->cut.resize(world_->sites.size());
    for (std::size_t i = 0; i < world_->sites.size(); ++i) {
        volume_site site;
        site.name = fmt::format("site{}", i + 1);
        site.store = std::make_shared<sim_link>(core.get_executor(), world_, state_, i);
        options_.sites.push_back(std::move(site));
    }
}

void client::kill() {
    state_->dead = true;
    state_->running.set();
    // Nothing of it reaches a site any more; its memory is given back in order.
    if (volume_) asio::co_spawn(core_, shut(), asio::detached);
}

template <typename Work>
task<typename std::invoke_result_t<Work>::value_type> client::on_worker(Work work) {
    if (state_->dead || shutting_) co_return fail(errc::cancelled);
    ++jobs_;
    auto outcome = co_await run_in(worker_, std::move(work));
    if (--jobs_ == 0) idle_.set();
    co_return outcome;
}

awaitable<void> client::shut() {
    if (!std::exchange(shutting_, true)) {
        while (jobs_ > 0) {
            idle_.reset();
            co_await idle_.wait();
        }
        (void)co_await volume_->close();
        shut_.set();
    }
    co_await shut_.wait();
}

/// One look at the namespace: everything in it of one moment.
result<client::picture> client::take_picture() {
    const name_space& names = volume_->names();
    picture seen;
    const auto mark = names.get_attribute(root_inode, marker);
    if (!mark && mark.error().code != errc::no_attribute) return fail(mark.error());
    if (mark) seen.number = std::stoull(*mark);
    for (std::uint64_t cookie = 0;;) {
        TRY(const auto part, names.list(root_inode, cookie, 100));
        if (part.empty()) return seen;
        for (const directory_entry& entry : part) {
            TRY(const inode file, names.get(entry.number));
            TRY(seen.files[entry.name], names.extents(file.number, 0, file.size));
            cookie = entry.cookie;
        }
    }
}

task<> client::check_content(std::string name, std::uint64_t number, std::vector<extent> extents, bool strict) {
    byte_vector bytes;
    for (const extent& e : extents) {
        if (state_->dead) co_return fail(errc::cancelled);
        const auto part = co_await volume_->read(e, e.piece_offset, e.size);
        if (!part && !strict && part.error().code == errc::missing_shares) co_return result<void>();
        if (!part)
            co_return fail(part.error().code, fmt::format("{} of change {}: {}", name, number, part.error().text));
        bytes.insert(bytes.end(), part->view().begin(), part->view().end());
    }
    if (bytes != content_of(number, book_.at(number).size))
        co_return fail(errc::bad_format, fmt::format("{} has not the content of change {}", name, number));
    co_return result<void>();
}

task<std::uint64_t> client::check_state(bool strict) {
    if (state_->dead) co_return fail(errc::cancelled);
    const auto look = [this] { return take_picture(); };
    CO_TRY(const picture seen, co_await on_worker(look));
    if (!book_.knows(seen.number)) co_return fail(errc::bad_format, "a change that nobody made");
    const auto expected = book_.files_after(seen.number);
    if (seen.files.size() != expected.size())
        co_return fail(errc::bad_format, fmt::format("{} files after change {}, not {}", seen.files.size(),
                                                     seen.number, expected.size()));
    for (const auto& [name, writer] : expected) {
        if (!seen.files.contains(name))
            co_return fail(errc::bad_format, fmt::format("{} of change {} is not there", name, writer));
        CO_TRY_VOID(co_await check_content(name, writer, seen.files.at(name), strict));
    }
    co_return seen.number;
}

/// A file is replaced by rename, or removed; the marker says that it happened. One hold of the lock, as fs/files does.
task<> client::do_change() {
    change c;
    c.parent = last_;
    c.name = std::string(1, static_cast<char>('a' + world_->chance.below(6)));
    c.removes = world_->chance.chance(0.2) && book_.files_after(last_).contains(c.name);
    c.size = 1 + world_->chance.below(20'000);
    const std::uint64_t number = book_.add(c);
    const chunk_id chunk = volume_->allocate_chunk();
    const auto work = [this, c, number, chunk]() -> result<void> {
        name_space& names = volume_->names();
        const time_stamp now = time_stamp::now();
        const std::lock_guard lock(volume_->names_lock());
        std::optional<inode> gone;
        if (c.removes) {
            TRY(gone, names.unlink(root_inode, c.name, now));
        } else {
            new_inode fresh;
            fresh.mode = 0100644;
            fresh.now = now;
            TRY(inode made, names.create(root_inode, "temporary", fresh));
            made.size = c.size;
            extent e;
            e.size = e.piece_size = c.size;
            e.chunk = chunk;
            TRY_VOID(names.replace_extents(made, 0, c.size, {e}));
            const auto replace = rename_mode::replace;
            TRY(const auto outcome, names.rename(root_inode, "temporary", root_inode, c.name, replace, now));
            gone = outcome.replaced;
        }
        if (gone && gone->link_count == 0) TRY_VOID(names.forget_orphan(gone->number, 1000));
        return names.set_attribute(root_inode, marker, std::to_string(number), name_space::attribute_mode::any, now);
    };
    CO_TRY_VOID(co_await on_worker(work));
    last_ = number;
    if (c.removes) co_return result<void>();
    std::vector<slice> pieces;
    pieces.emplace_back(buffer::copy_of(content_of(number, c.size)));
    // As fs/files does: the commit need not wait for the put's end.
    const auto sent = std::make_shared<event>(core_.get_executor());
    const auto put = [](client* self, chunk_id id, std::vector<slice> bytes, std::shared_ptr<event> gone) -> task<> {
        auto done = co_await self->volume_->put_chunk(id, std::move(bytes), [gone] { gone->set(); });
        gone->set();
        co_return done;
    };
    puts_.start(number, put(this, chunk, std::move(pieces), sent));
    co_await sent->wait();
    if (const auto ended = puts_.done().find(number); ended != puts_.done().end()) CO_TRY_VOID(ended->second);
    chunks_.push_back(chunk);
    co_return result<void>();
}

task<> client::commit() {
    const std::uint64_t until = last_;
    const auto take = [this]() -> result<std::unique_ptr<captured_edits>> {
        const std::lock_guard lock(volume_->names_lock());
        return volume_->capture();
    };
    CO_TRY(auto edits, co_await on_worker(take));
    const auto done = co_await volume_->commit(std::move(edits), std::exchange(chunks_, {}));
    if (done) book_.acknowledged(until);
    co_return done;
}

awaitable<void> client::live(unsigned changes) {
    const std::uint64_t before = book_.committed();
    auto opened = co_await volume::open(core_, options_);
    if (opened) {
        volume_ = std::move(*opened);
        // Once open, the volume was this writer's for a moment, whatever comes afterwards; but for a disputed head.
        const bool disputed = volume_->status().reason.starts_with("head disputed");
        auto found = result<std::uint64_t>(fail(errc::cancelled));
        if (!state_->dead) found = co_await check_state(false);
        if (found) {
            if (!disputed) book_.opened(*found, before);
            last_ = *found;
        } else if (found.error().code == errc::bad_format || found.error().code == errc::bad_tag) {
            book_.violation = "after an opening: " + found.error().message();
        }
        bool going_on = found.has_value();
        for (unsigned i = 0; i < changes && going_on; ++i) {
            going_on = !state_->dead && (co_await do_change()).has_value();
            if (going_on && !state_->dead && world_->chance.chance(0.6)) going_on = (co_await commit()).has_value();
            co_await sleep_for(world_->chance.time(300));
        }
        // Left alone it goes on beating its heart until somebody ends it.
        if (going_on && !state_->dead) going_on = (co_await commit()).has_value();
        co_await shut();
        co_await puts_.wait_all();
        volume_.reset();
    }
    ended_ = true;
}

awaitable<void> client::look(unsigned looks) {
    options_.mode = open_mode::read_only;
    options_.follow = true;
    auto opened = co_await volume::open(core_, options_);
    if (opened) {
        volume_ = std::move(*opened);
        std::uint64_t last = 0;
        for (unsigned i = 0; i < looks && !state_->dead; ++i) {
            const auto is_unsure = [this] { return volume_->status().reason.contains(unsure_reason); };
            const bool was_unsure = is_unsure();
            const auto found = co_await check_state(false);
            if (!found) {
                if (found.error().code == errc::bad_format || found.error().code == errc::bad_tag)
                    book_.violation = "in a reader: " + found.error().message();
                break;
            }
            if (!was_unsure && !is_unsure()) {
                book_.shown(*found, last);
                last = *found;
            }
            co_await sleep_for(world_->chance.time(700));
        }
        last_ = last;
        co_await shut();
        volume_.reset();
    }
    ended_ = true;
}

task<> client::last_look() {
    options_.takeover = true;
    const std::uint64_t before = book_.committed();
    auto opened = co_await volume::open(core_, options_);
    if (!opened) co_return fail(opened.error());
    volume_ = std::move(*opened);
    const auto found = co_await check_state(true);
    result<void> outcome;
    if (found)
        book_.opened(*found, before);
    else
        outcome = fail(found.error());
    if (outcome && !volume_->check_writable()) outcome = fail(volume_->check_writable().error());
    (void)co_await volume_->close();
    volume_.reset();
    co_return outcome;
}

}  // namespace warifu::sim
