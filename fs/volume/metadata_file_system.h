#pragma once
// The rocksdb::FileSystem of metadata_files: translates RocksDB's calls to file_map and metadata_pieces.

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "fs/volume/metadata_file_map.h"
#include "fs/volume/metadata_pieces.h"

namespace rocksdb {
class FileSystem;
class Logger;
}  // namespace rocksdb

namespace warifu {

/// What the file system, its open files and metadata_files share.
struct metadata_state {
    metadata_state(table_chunk_io& io, metadata_files_options options) : pieces(io, options) {}

    metadata_pieces pieces;
    std::mutex mutex;  // guards what follows; never held while the sites are asked
    file_map files;
    std::set<std::string> locks;
    std::vector<table_chunk> unfinished;  // put for tables that are still being written
};

std::shared_ptr<rocksdb::FileSystem> make_metadata_file_system(std::shared_ptr<metadata_state> state);

/// A logger that drops everything: RocksDB's info log would name keys.
std::shared_ptr<rocksdb::Logger> make_null_logger();

}  // namespace warifu
