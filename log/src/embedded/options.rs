//! Every RocksDB option we set, with its reason.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel,
    LruCacheOptions, Options, ReadOptions,
};

use super::EmbeddedConfig;

/// The column family of the records; all other rows are small and live in the default one.
pub(super) const RECORDS: &str = "records";

const MEGABYTE: usize = 1024 * 1024;

/// The whole database.
pub(super) fn database(config: &EmbeddedConfig) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // A crash tears the newest write-ahead log; what is before the tear is whole. That nothing valid lies behind
    // it is checked before RocksDB opens it (`wal.rs`): this mode alone would drop that silently.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // Records and the rows that speak of them reach the sorted files together, so no cut of the log parts them.
    options.set_atomic_flush(true);
    // One thread writes.
    options.set_allow_concurrent_memtable_write(false);
    options.set_max_background_jobs(2);
    // Bounds what a start replays.
    options.set_max_total_wal_size(4 * config.write_buffer_bytes as u64);
    // Spreads the writing of sorted files, instead of one burst at their end that a commit's sync waits for.
    options.set_bytes_per_sync(MEGABYTE as u64);
    // A merge reads many files at once, and by default takes 2 MiB for each.
    options.set_compaction_readahead_size(256 * 1024);
    // Each open file keeps its index in memory.
    options.set_max_open_files(256);
    // RocksDB's own diary: short, and without statistics every ten minutes.
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(MEGABYTE);
    options.set_stats_dump_period_sec(0);
    options
}

/// Records: appended in order per partition, read in long runs, removed in long runs.
pub(super) fn records(config: &EmbeddedConfig, cache: &Cache) -> ColumnFamilyDescriptor {
    let mut options = Options::default();
    options.set_write_buffer_size(config.write_buffer_bytes);
    options.set_max_write_buffer_number(3);
    // Events shrink to a third. The first level is read soon and rewritten soon: not worth it there.
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_compression_per_level(&[DBCompressionType::None, DBCompressionType::Lz4]);
    // The first level may grow to about the size of the second before they are merged: each merge rewrites both. Its
    // files cost a look-up each, so not more; and writers are slowed late.
    options.set_level_zero_file_num_compaction_trigger(12);
    options.set_level_zero_slowdown_writes_trigger(40);
    options.set_level_zero_stop_writes_trigger(60);
    // Large files in few levels: a removed run of records then frees whole files.
    options.set_target_file_size_base(32 * MEGABYTE as u64);
    options.set_max_bytes_for_level_base(256 * MEGABYTE as u64);
    // Runs are read from start to end: larger blocks compress better and cost fewer look-ups.
    options.set_block_based_table_factory(&table(cache, 16 * 1024));
    ColumnFamilyDescriptor::new(RECORDS, options)
}

/// Everything else: small rows, many of them overwritten by every commit.
pub(super) fn rows(cache: &Cache) -> ColumnFamilyDescriptor {
    let mut options = Options::default();
    options.set_write_buffer_size(4 * MEGABYTE);
    options.set_compression_type(DBCompressionType::None);
    options.set_block_based_table_factory(&table(cache, 4 * 1024));
    ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, options)
}

/// What readers share. Few shards: each must have room for several of its largest blocks.
pub(super) fn cache(bytes: usize) -> Cache {
    let mut options = LruCacheOptions::default();
    options.set_capacity(bytes);
    options.set_num_shard_bits(2);
    Cache::new_lru_cache_opts(&options)
}

fn table(cache: &Cache, block_bytes: usize) -> BlockBasedOptions {
    let mut options = BlockBasedOptions::default();
    options.set_block_cache(cache);
    options.set_block_size(block_bytes);
    // An index in one piece would not fit the cache, and each look-up would read and unpack it anew (seen: half a
    // millisecond for a fetch of one record).
    options.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    // Indexes count against the cache's limit too, or memory would grow with the data.
    options.set_cache_index_and_filter_blocks(true);
    options.set_pin_l0_filter_and_index_blocks_in_cache(true);
    options
}

/// Reading the rows of a range. Passing over much once (`keep` false) leaves the cache to those who tail.
pub(super) fn read(range: std::ops::Range<&[u8]>, keep: bool) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(range.start);
    options.set_iterate_upper_bound(range.end);
    options.fill_cache(keep);
    options
}
