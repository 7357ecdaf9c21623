#include "fs/volume/metadata_file_system.h"

#include <optional>
#include <rocksdb/env.h>

#include "fs/base/assert.h"
#include "fs/volume/metadata_file_handles.h"

namespace warifu {
namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

constexpr std::string_view table_suffix = ".sst";

class null_logger final : public rocksdb::Logger {
  public:
    null_logger() : Logger(rocksdb::InfoLogLevel::HEADER_LEVEL) {}
    using Logger::Logv;
    void LogHeader(const char* /*format*/, va_list /*arguments*/) override {}
    void Logv(const char* /*format*/, va_list /*arguments*/) override {}
};

class null_directory final : public rocksdb::FSDirectory {
  public:
    IOStatus Fsync(const IOOptions& /*options*/, IODebugContext* /*debug*/) override { return IOStatus::OK(); }
    IOStatus Close(const IOOptions& /*options*/, IODebugContext* /*debug*/) override { return IOStatus::OK(); }
};

class file_lock final : public rocksdb::FileLock {
  public:
    explicit file_lock(std::string n) : name(std::move(n)) {}
    std::string name;
};

/// Where a path leads: to the root directory (empty name), below it, or nowhere (outside of it or not a name).
std::optional<std::string> name_of(std::string_view path) {
    const std::string root = metadata_files::root_directory();
    if (!path.starts_with(root)) return std::nullopt;
    path.remove_prefix(root.size());
    if (!path.empty() && path.front() != '/') return std::nullopt;
    std::string name;
    while (!path.empty()) {
        const auto slash = path.find('/');
        const auto component = path.substr(0, slash);
        if (!component.empty()) {
            if (!name.empty()) name += '/';
            name += component;
        }
        if (slash == std::string_view::npos) break;
        path.remove_prefix(slash + 1);
    }
    if (!name.empty() && !is_edit_name(name)) return std::nullopt;
    return name;
}

IOStatus outside() {
    return IOStatus::NotSupported("a path outside of the metadata files");
}
IOStatus missing() {
    return IOStatus::PathNotFound("no such metadata file");
}

class metadata_file_system final : public rocksdb::FileSystem {
  public:
    explicit metadata_file_system(std::shared_ptr<metadata_state> state) : state_(std::move(state)) {}

    const char* Name() const override { return "warifu"; }

    IOStatus NewSequentialFile(const std::string& path, const FileOptions& options,
                               std::unique_ptr<rocksdb::FSSequentialFile>* result, IODebugContext* debug) override {
        std::unique_ptr<rocksdb::FSRandomAccessFile> file;
        auto status = NewRandomAccessFile(path, options, &file, debug);
        result->reset();
        if (status.ok()) *result = std::make_unique<sequential_reader>(std::move(file));
        return status;
    }

    IOStatus NewRandomAccessFile(const std::string& path, const FileOptions& /*options*/,
                                 std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                                 IODebugContext* /*debug*/) override {
        result->reset();
        const std::lock_guard lock(state_->mutex);
        const auto* entry = find(path);
        if (entry == nullptr) return missing();
        if (entry->table)
            *result = std::make_unique<table_reader>(state_, entry->table);
        else
            *result = std::make_unique<memory_reader>(state_, entry->bytes);
        return IOStatus::OK();
    }

    IOStatus NewWritableFile(const std::string& path, const FileOptions& /*options*/,
                             std::unique_ptr<rocksdb::FSWritableFile>* result, IODebugContext* /*debug*/) override {
        result->reset();
        const auto name = name_of(path);
        if (!name || name->empty()) return outside();
        if (name->ends_with(table_suffix)) {
            *result = std::make_unique<table_writer>(state_, *name);
            return IOStatus::OK();
        }
        const std::lock_guard lock(state_->mutex);
        *result = std::make_unique<memory_writer>(state_, state_->files.create(*name));
        return IOStatus::OK();
    }

    IOStatus ReopenWritableFile(const std::string& path, const FileOptions& options,
                                std::unique_ptr<rocksdb::FSWritableFile>* result, IODebugContext* debug) override {
        result->reset();
        {
            const std::lock_guard lock(state_->mutex);
            const auto* entry = find(path);
            if (entry != nullptr && entry->table) return IOStatus::NotSupported("a table file is written once");
            if (entry != nullptr) {
                *result = std::make_unique<memory_writer>(state_, entry->bytes);
                return IOStatus::OK();
            }
        }
        return NewWritableFile(path, options, result, debug);
    }

    IOStatus NewDirectory(const std::string& path, const IOOptions& /*options*/,
                          std::unique_ptr<rocksdb::FSDirectory>* result, IODebugContext* /*debug*/) override {
        result->reset();
        const std::lock_guard lock(state_->mutex);
        if (!is_directory(path)) return missing();
        *result = std::make_unique<null_directory>();
        return IOStatus::OK();
    }

    IOStatus FileExists(const std::string& path, const IOOptions& /*options*/, IODebugContext* /*debug*/) override {
        const std::lock_guard lock(state_->mutex);
        return find(path) != nullptr || is_directory(path) ? IOStatus::OK() : IOStatus::NotFound();
    }

    IOStatus GetChildren(const std::string& path, const IOOptions& /*options*/, std::vector<std::string>* result,
                         IODebugContext* /*debug*/) override {
        result->clear();
        const std::lock_guard lock(state_->mutex);
        if (!is_directory(path)) return missing();
        const auto name = name_of(path);
        const std::string prefix = !name || name->empty() ? "" : *name + "/";
        if (!name) return IOStatus::OK();
        const auto add = [&prefix, result](const std::string& full) {
            if (full.starts_with(prefix) && full.find('/', prefix.size()) == std::string::npos)
                result->push_back(full.substr(prefix.size()));
        };
        for (const auto& [full, entry] : state_->files.live().files) add(full);
        for (const auto& full : state_->files.live().directories) add(full);
        return IOStatus::OK();
    }

    IOStatus DeleteFile(const std::string& path, const IOOptions& /*options*/, IODebugContext* /*debug*/) override {
        const auto name = name_of(path);
        if (!name) return missing();
        std::shared_ptr<const table_layout> table;
        {
            const std::lock_guard lock(state_->mutex);
            if (const auto* entry = find(path)) table = entry->table;
            if (!state_->files.remove(*name)) return missing();
        }
        if (table) {
            for (const auto& chunk : table->chunks) state_->pieces.forget(chunk);
        }
        return IOStatus::OK();
    }

    IOStatus Truncate(const std::string& path, std::size_t size, const IOOptions& /*options*/,
                      IODebugContext* /*debug*/) override {
        const std::lock_guard lock(state_->mutex);
        const auto* entry = find(path);
        if (entry == nullptr) return missing();
        if (entry->table || size > entry->size) return IOStatus::InvalidArgument("this metadata file cannot be cut so");
        if (size < entry->size) state_->files.truncate(entry->bytes, size);
        return IOStatus::OK();
    }

    IOStatus CreateDir(const std::string& path, const IOOptions& /*options*/, IODebugContext* /*debug*/) override {
        const std::lock_guard lock(state_->mutex);
        if (is_directory(path)) return IOStatus::IOError("this metadata directory is already there");
        return make_directory(path);
    }

    IOStatus CreateDirIfMissing(const std::string& path, const IOOptions& /*options*/,
                                IODebugContext* /*debug*/) override {
        const std::lock_guard lock(state_->mutex);
        return is_directory(path) ? IOStatus::OK() : make_directory(path);
    }

    IOStatus DeleteDir(const std::string& path, const IOOptions& /*options*/, IODebugContext* /*debug*/) override {
        const std::lock_guard lock(state_->mutex);
        if (other_directories_.erase(path) != 0) return IOStatus::OK();
        const auto name = name_of(path);
        if (!name || name->empty()) return missing();
        const auto& files = state_->files.live().files;
        const auto inside = files.lower_bound(*name + "/");
        if (inside != files.end() && inside->first.starts_with(*name + "/"))
            return IOStatus::IOError("this metadata directory is not empty");
        return state_->files.remove_directory(*name) ? IOStatus::OK() : missing();
    }

    IOStatus GetFileSize(const std::string& path, const IOOptions& /*options*/, std::uint64_t* size,
                         IODebugContext* /*debug*/) override {
        const std::lock_guard lock(state_->mutex);
        const auto* entry = find(path);
        *size = entry == nullptr ? 0 : entry->size;
        return entry == nullptr ? missing() : IOStatus::OK();
    }

    IOStatus GetFileModificationTime(const std::string& path, const IOOptions& /*options*/, std::uint64_t* seconds,
                                     IODebugContext* /*debug*/) override {
        const std::lock_guard lock(state_->mutex);
        const auto* entry = find(path);
        *seconds = entry == nullptr ? 0 : static_cast<std::uint64_t>(entry->modify_time);
        return entry == nullptr ? missing() : IOStatus::OK();
    }

    IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& /*options*/,
                        IODebugContext* /*debug*/) override {
        const auto name = name_of(from);
        const auto new_name = name_of(to);
        if (!name || !new_name || new_name->empty()) return outside();
        const std::lock_guard lock(state_->mutex);
        return state_->files.rename(*name, *new_name) ? IOStatus::OK() : missing();
    }

    // A lock keeps two databases of this process apart; epochs keep other processes out.
    IOStatus LockFile(const std::string& path, const IOOptions& /*options*/, rocksdb::FileLock** lock,
                      IODebugContext* /*debug*/) override {
        *lock = nullptr;
        const std::lock_guard guard(state_->mutex);
        if (!state_->locks.insert(path).second) return IOStatus::IOError("the metadata is already open");
        *lock = new file_lock(path);
        return IOStatus::OK();
    }

    IOStatus UnlockFile(rocksdb::FileLock* lock, const IOOptions& /*options*/, IODebugContext* /*debug*/) override {
        const std::unique_ptr<file_lock> ours(static_cast<file_lock*>(lock));
        const std::lock_guard guard(state_->mutex);
        state_->locks.erase(ours->name);
        return IOStatus::OK();
    }

    IOStatus GetTestDirectory(const IOOptions& /*options*/, std::string* path, IODebugContext* /*debug*/) override {
        *path = metadata_files::root_directory();
        return IOStatus::OK();
    }

    IOStatus NewLogger(const std::string& /*path*/, const IOOptions& /*options*/,
                       std::shared_ptr<rocksdb::Logger>* result, IODebugContext* /*debug*/) override {
        *result = make_null_logger();
        return IOStatus::OK();
    }

    IOStatus GetAbsolutePath(const std::string& path, const IOOptions& /*options*/, std::string* result,
                             IODebugContext* /*debug*/) override {
        *result = path.starts_with('/') ? path : "/" + path;
        return IOStatus::OK();
    }

    IOStatus IsDirectory(const std::string& path, const IOOptions& /*options*/, bool* answer,
                         IODebugContext* /*debug*/) override {
        const std::lock_guard lock(state_->mutex);
        *answer = is_directory(path);
        return *answer || find(path) != nullptr ? IOStatus::OK() : missing();
    }

  private:
    const file_entry* find(const std::string& path) const {
        const auto name = name_of(path);
        if (!name) return nullptr;
        const auto& files = state_->files.live().files;
        const auto it = files.find(*name);
        return it == files.end() ? nullptr : &it->second;
    }

    bool is_directory(const std::string& path) const {
        if (other_directories_.contains(path)) return true;
        const auto name = name_of(path);
        return name && (name->empty() || state_->files.live().directories.contains(*name));
    }

    IOStatus make_directory(const std::string& path) {
        const auto name = name_of(path);
        if (name)
            state_->files.make_directory(*name);
        else
            other_directories_.insert(path);
        return IOStatus::OK();
    }

    std::shared_ptr<metadata_state> state_;
    std::set<std::string>
        other_directories_;  // outside of the root: a follower's own path; never recorded, always empty
};

}  // namespace

std::shared_ptr<rocksdb::Logger> make_null_logger() {
    return std::make_shared<null_logger>();
}

std::shared_ptr<rocksdb::FileSystem> make_metadata_file_system(std::shared_ptr<metadata_state> state) {
    return std::make_shared<metadata_file_system>(std::move(state));
}

}  // namespace warifu
