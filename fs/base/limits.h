#pragma once
// Every bound of the system in one place (contract A2). At a limit callers wait or get a clear error; nothing grows
// past it. Sizes are bytes, times are milliseconds.

#include <cstddef>
#include <cstdint>

namespace warifu {

// Sharing
inline constexpr unsigned site_count_max = 16;
inline constexpr std::size_t sub_block_size = 4096;       // one sub-block of a full sharing unit
inline constexpr std::size_t sub_block_step = 16;         // a short unit's sub-block is a multiple of this
inline constexpr std::size_t chunk_size_max = 4U << 20U;  // secret bytes of one chunk
inline constexpr std::size_t chunk_piece_count_max = 1024;
inline constexpr std::size_t codeword_payload_size_max = 4U << 20U;  // one AMD codeword (journal record piece)
inline constexpr std::size_t liar_subset_count_max = 4096;  // subsets of shares tried to find one that verifies
inline constexpr std::size_t schedule_count_max = 512;      // XOR programs kept (one per scheme and subset of shares)

// Share store
inline constexpr std::size_t sector_size = 4096;
inline constexpr std::size_t get_range_count_max = 1024;
inline constexpr std::size_t get_size_max = 8U << 20U;
inline constexpr std::size_t list_count_max = 4096;
inline constexpr std::size_t remove_count_max = 4096;
inline constexpr std::size_t record_chunk_count_max = 65536;  // chunks that one journal record names
inline constexpr std::size_t record_share_size_max = 6U << 20U;
inline constexpr std::size_t pin_count_max = 4096;
inline constexpr std::size_t share_size_max = 5U << 20U;         // sum of a share's pieces (a chunk and its padding)
inline constexpr std::size_t share_side_size_max = 512U << 10U;  // tags and hashes of a share
inline constexpr std::size_t share_head_size_fixed = 256;        // of a stored share, before its tables and side
inline constexpr std::size_t remove_part_count_max = 65536;      // removals, pieces and side ranges of one request
inline constexpr std::uint32_t pin_ttl_max_ms = 600'000;

inline constexpr std::size_t record_edit_size_max = 3U << 20U;        // edits in one journal record; more makes several
inline constexpr std::size_t journal_size_snapshot = 16U << 20U;      // payload bytes after which a snapshot is due
inline constexpr std::size_t journal_read_size_max = 1U << 30U;       // of one site's journal; a longer one is a lie
inline constexpr std::size_t snapshot_log_size_max = 2U << 20U;       // a larger live log is flushed to tables first
inline constexpr std::size_t shares_in_flight_size_max = 96U << 20U;  // split and on their way, all sites together
inline constexpr std::size_t shares_kept_size_max = 96U << 20U;  // put, kept until commit in case a site loses them
inline constexpr std::uint32_t snapshot_wait_ms = 30'000;
inline constexpr std::uint32_t removal_delay_ms = 10'000;  // followers may still read what a commit freed
inline constexpr std::uint32_t heartbeat_interval_ms = 2'000;
inline constexpr std::uint32_t writer_wait_ms = 10'000;  // a writer of the same machine may be draining
inline constexpr std::uint32_t site_return_interval_ms = 500;
inline constexpr std::size_t reap_batch_count_max = 4096;

// Sector store
inline constexpr std::size_t extent_count_max = 256;              // runs of sectors that one share or record lies in
inline constexpr std::size_t device_in_flight_max = 64;           // transfers given to the kernel at once
inline constexpr std::size_t erase_step_size = 1U << 20U;         // one zero write
inline constexpr std::size_t log_batch_size_max = 256U << 10U;    // one log write; less in small stores
inline constexpr std::size_t record_inline_size_max = 8U << 10U;  // larger records lie outside of the log
inline constexpr std::size_t record_inline_total_max = 32U
                                                       << 20U;   // memory for records in the log; then outside as well
inline constexpr std::size_t store_chunk_count_max = 8U << 20U;  // index entries of a store, about 220 bytes each
inline constexpr std::size_t store_volume_count_max = 1024;
inline constexpr std::size_t head_cache_size_max = 32U << 20U;  // share heads kept in memory
inline constexpr std::uint64_t store_size_min = 4U << 20U;
inline constexpr std::uint64_t store_size_max = 1ULL << 50U;

// Wire
inline constexpr std::size_t message_size_max = 9U << 20U;
inline constexpr std::size_t frame_payload_size_max = 256U << 10U;
inline constexpr std::size_t requests_in_flight_max = 256;  // per connection
inline constexpr std::size_t connection_count_max = 256;    // per share server
inline constexpr unsigned verification_failures_max = 8;    // per pad window, then it is retired
inline constexpr std::uint32_t greeting_timeout_ms = 5'000;
inline constexpr std::uint32_t request_timeout_ms = 10'000;
inline constexpr std::uint32_t reconnect_delay_min_ms = 100;
inline constexpr std::uint32_t reconnect_delay_max_ms = 2'000;
inline constexpr std::size_t message_fields_size_max = 2U << 20U;  // of message_size_max; the rest is payload
inline constexpr std::size_t response_size_max = 8704U << 10U;     // fields and payload that a request may ask for
inline constexpr std::size_t connection_bytes_in_flight_max = 32U << 20U;  // requests and their largest responses
inline constexpr std::size_t interactive_message_size_max = 64U << 10U;    // larger puts and gets yield to smaller ones
inline constexpr std::size_t channel_window_size_min = 256U << 10U;        // pad window of a fresh connection
inline constexpr std::size_t channel_window_size_max = 4U << 20U;          // ... of a busy one
inline constexpr std::size_t channel_control_reserve = 8U << 10U;          // confirmed pad that data never uses
inline constexpr std::size_t channel_windows_held_max = 160;               // per direction: a message in the least ones
inline constexpr unsigned window_offers_refused_max = 16;                  // in a row, then the connection is given up
inline constexpr std::uint32_t write_stall_timeout_ms = 10'000;     // without progress, then the connection is dead
inline constexpr std::uint32_t server_key_wait_timeout_ms = 8'000;  // then a response becomes no_key
inline constexpr std::size_t greeting_message_size_max = 512;
inline constexpr std::size_t error_text_size_max = 512;
inline constexpr std::size_t identity_text_size_max = 256;  // a machine or boot id in a heartbeat
inline constexpr std::size_t volume_spec_size_max = 64U << 10U;
inline constexpr std::size_t status_connection_count_max = 1024;
inline constexpr std::size_t connection_count_per_site_max = 64;

// Keys
inline constexpr std::size_t pad_window_size_min = 64U << 10U;
inline constexpr std::size_t pad_window_size_max = 64U << 20U;
inline constexpr std::size_t pad_block_size_max = 1U << 30U;
inline constexpr std::uint32_t key_wait_timeout_ms = 30'000;
inline constexpr std::size_t site_name_size_max = 63;
inline constexpr std::size_t pad_block_size_min = 64U << 10U;
inline constexpr std::size_t pad_stream_count_max = 256;    // per keyd: both directions of its links, and random
inline constexpr std::size_t pad_block_count_max = 16'384;  // blocks that a keyd holds at once
inline constexpr std::size_t pad_block_id_count_max =
    4U << 20U;  // block ids that a keyd remembers for ever (16 bytes each)
inline constexpr std::size_t pad_handout_history_max = 32'768;  // hand-outs that a ledger keeps for the audit
inline constexpr std::size_t pad_stale_block_count_max = 64;    // old blocks of a stream kept for their unspent rests
inline constexpr std::size_t audit_entry_count_max = 1000;
inline constexpr std::size_t hello_slots_kept_by_sender = 1024;  // of used-up blocks, per stream
inline constexpr std::size_t hello_slots_kept_by_receiver =
    4096;  // more, so that the sender rarely names one that is gone
inline constexpr std::size_t ledger_record_size_max = 64U << 10U;
inline constexpr std::size_t ledger_size_before_compaction_min = 1U << 20U;
inline constexpr std::size_t keyd_message_size_max = 128U << 10U;
inline constexpr std::size_t keyd_client_count_max = 64;
inline constexpr std::size_t keyd_requests_in_flight_max = 64;        // per client
inline constexpr std::size_t keyd_waiting_claims_max = 256;           // per keyd
inline constexpr std::size_t keyd_window_bytes_max = 2048ULL << 20U;  // handed out and not released, per keyd

// Metadata
inline constexpr std::size_t metadata_file_name_size_max = 255;
inline constexpr std::size_t metadata_file_size_max = 1U << 30U;  // one log or MANIFEST of RocksDB, kept in memory
inline constexpr std::size_t table_chunk_payload_size_max = 2U
                                                            << 20U;  // table file bytes collected before they are put
inline constexpr std::size_t table_chunk_count_max = 1024;           // chunks of one table file
inline constexpr std::size_t metadata_memory_min = 24U << 20U;  // of one database: write buffers, logs, block cache
inline constexpr std::size_t edit_batch_size_min = 64U
                                                   << 10U;  // take_edits' least size_max: any edit but an append fits

// Files
inline constexpr std::size_t chunk_puts_in_flight_max = 6;
inline constexpr std::size_t dirty_run_count_max = 1024;       // per file; more join the namespace at once
inline constexpr std::size_t read_block_size = 1U << 20U;      // about what one read-ahead request fetches
inline constexpr std::size_t read_fetches_in_flight_max = 64;  // read-ahead blocks being fetched, all readers together
inline constexpr std::size_t packed_pieces_ahead_max = 64;     // neighbours fetched when small files are read in order
inline constexpr std::uint64_t copy_range_size_max = 256ULL << 20U;  // of one copy_file_range
inline constexpr std::size_t orphan_step_extents = 512;              // freed in one hold of the namespace lock

// Mount
inline constexpr std::size_t fuse_request_size_max = 1U << 20U;
inline constexpr unsigned fuse_background_max = 64;
inline constexpr unsigned fuse_threads_max = 10;
inline constexpr std::size_t directory_batch_count = 128;  // entries asked of the namespace at once

// Configuration
inline constexpr std::size_t config_size_max = 1U << 20U;
inline constexpr std::size_t config_text_size_max = 4096;  // one string
inline constexpr std::size_t access_entry_count_max = 4096;

// Memory
inline constexpr std::size_t buffer_recycle_size_max = 192U << 20U;  // freed blocks that wait to be used again,
inline constexpr std::size_t buffer_memory_max = 320U << 20U;  // while there are not more of all (set_buffer_memory)

}  // namespace warifu
