#include "backends/block/block_store.h"

#include <algorithm>

#include "backends/block/block_volume.h"
#include "fs/base/random.h"

namespace warifu {
namespace {

/// 1/512 of the store, within bounds: small stores have small logs.
std::uint32_t segment_sectors_for(std::uint64_t sectors) {
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(sectors / 512, 16, 256));
}

task<> check_unused(device& disk) {
    for (unsigned copy = 0; copy < superblock_copy_count; ++copy) {
        CO_TRY(const buffer bytes, co_await disk.read_sectors(extent{superblock_sector(copy), 1}));
        const auto found = decode_superblock(bytes.view(), copy);
        if (found || found.error().code != errc::not_found)
            co_return fail(errc::exists, "there is something already; force overwrites it");
    }
    co_return result<void>{};
}

task<> format_file(asio::any_io_executor executor, block_store_options options) {
    CO_TRY(const auto disk, file_device::open(executor, options.path));
    co_return co_await block_store::format_device(*disk, std::move(options));
}

error with_path(const error& e, const std::string& path) {
    return e.text.starts_with(path) ? e : error(e.code, path + ": " + e.text);
}

}  // namespace

task<> block_store::format_device(device& disk, block_store_options options) {
    if (disk.sector_count() < store_size_min / sector_size)
        co_return fail(errc::bad_argument, "a store needs at least 4 MiB");
    if (disk.sector_count() > store_size_max / sector_size) co_return fail(errc::too_large, "the device is too large");
    if (!options.force) CO_TRY_VOID(co_await check_unused(disk));
    superblock block;
    block.uuid = random_uuid<store_uuid>();
    block.incarnation = random_uuid<incarnation_id>();
    block.sector_count = disk.sector_count();
    block.segment_sectors = segment_sectors_for(block.sector_count);
    block.free_is_clean = true;
    block.log_sector = data_first;
    block.log_segment = 1;
    block.log_batch = 1;
    block.zeroed_end = data_first + 2 * std::uint64_t{block.segment_sectors};
    CO_TRY_VOID(co_await disk.write_zeros(extent{0, static_cast<std::uint32_t>(block.zeroed_end)}));
    segment_header header;
    header.store = block.uuid;
    header.number = 1;
    header.sector = data_first;
    header.next = data_first + block.segment_sectors;
    std::vector<sector_output> list(1);
    const buffer segment = buffer::copy_of(encode_segment_header(header));
    list[0].first = data_first;
    list[0].from.push_back(segment.view());
    CO_TRY_VOID(co_await disk.write(std::move(list)));
    CO_TRY_VOID(co_await disk.flush());
    for (unsigned copy = 0; copy < superblock_copy_count; ++copy) {
        const buffer bytes = buffer::copy_of(encode_superblock(block, copy));
        list.assign(1, sector_output());
        list[0].first = superblock_sector(copy);
        list[0].from.push_back(bytes.view());
        CO_TRY_VOID(co_await disk.write(std::move(list)));
    }
    co_return co_await disk.flush();
}

result<void> block_store::format(const block_store_options& options) {
    if (options.size != 0 && (options.size < store_size_min || options.size > store_size_max))
        return fail(errc::bad_argument, options.path + ": a store has at least 4 MiB and at most 1 PiB");
    {
        // Makes the file; its lock goes before the device below takes its own.
        TRY(const store_file file, open_store_file(options.path, options.size / sector_size * sector_size));
        if (file.size < store_size_min)
            return fail(errc::bad_argument, options.path + ": a store needs at least 4 MiB");
    }
    asio::io_context context;
    std::optional<result<void>> out;
    asio::co_spawn(context, format_file(context.get_executor(), options),
                   [&out](std::exception_ptr, result<void> value) { out.emplace(std::move(value)); });
    context.run();
    if (!*out) return fail(with_path(out->error(), options.path));
    return {};
}

task<std::unique_ptr<block_store>> block_store::open_device(asio::io_context& core, std::unique_ptr<device> disk,
                                                            block_store_options options) {
    auto machinery = std::make_shared<block_core>(core.get_executor(), std::move(disk), std::move(options));
    CO_TRY_VOID(co_await machinery->recover());
    co_return std::unique_ptr<block_store>(new block_store(std::move(machinery)));
}

task<std::unique_ptr<block_store>> block_store::open(asio::io_context& core, block_store_options options) {
    CO_TRY(auto disk, file_device::open(core.get_executor(), options.path));
    const std::string path = options.path;
    auto out = co_await open_device(core, std::move(disk), std::move(options));
    if (!out) co_return fail(with_path(out.error(), path));
    co_return out;
}

block_store::block_store(std::shared_ptr<block_core> core) : core_(std::move(core)) {}

block_store::~block_store() {
    core_->stop();
}

result<std::shared_ptr<share_store>> block_store::open_volume(volume_id volume) {
    TRY(auto state, core_->index().open(volume));
    return std::make_shared<block_volume>(core_, std::move(state));
}

std::vector<volume_id> block_store::volumes() const {
    std::vector<volume_id> out;
    for (const auto& [id, volume] : core_->index().volumes()) out.push_back(id);
    return out;
}

incarnation_id block_store::incarnation() const {
    return core_->block().incarnation;
}

block_store_status block_store::status() const {
    return core_->status();
}

task<> block_store::close() {
    const auto core = core_;
    co_return co_await core->close();
}

}  // namespace warifu
