//! A compressed body: always the same bytes for the same body.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::GzBuilder;
use fpaas_core::subscription::Compression;

/// What most use: half the time of the next steps, and nearly their size.
const GZIP_LEVEL: u32 = 6;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;
/// "Unknown" (RFC 1952): the same wherever it is made.
const SYSTEM: u8 = 255;

/// Of a gzip, neither a time nor a name; of a zstd, one frame that says how long it becomes, with its checksum.
pub(super) fn compress(compression: Compression, body: Vec<u8>) -> io::Result<Bytes> {
    match compression {
        Compression::None => Ok(body.into()),
        Compression::Gzip => {
            let level = flate2::Compression::new(GZIP_LEVEL);
            let mut encoder = GzBuilder::new().mtime(0).operating_system(SYSTEM).write(Vec::new(), level);
            encoder.write_all(&body)?;
            Ok(encoder.finish()?.into())
        }
        Compression::Zstd => {
            let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
            compressor.include_checksum(true)?;
            Ok(compressor.compress(&body)?.into())
        }
    }
}
