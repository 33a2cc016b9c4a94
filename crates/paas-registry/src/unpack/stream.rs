//! The layer as a stream of bytes: decompressed, counted, hashed, bounded.

use std::io::{self, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::OPERATION;
use crate::digest::Hasher;
use crate::{Digest, Error, ErrorKind, Limits, Result};

/// Largest window of a zstd frame that is accepted, as a power of two: 128 MiB, zstd's own default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

type Packed<R> = BufReader<Counted<Chain<Cursor<Vec<u8>>, R>>>;

/// Opens a layer. The compression is told by the content, as containerd does; media types are often wrong about it.
pub(super) fn open<R: Read>(mut reader: R, limits: &Limits) -> Result<LayerStream<Decoder<R>>> {
    let mut magic = Vec::with_capacity(4);
    reader.by_ref().take(4).read_to_end(&mut magic).map_err(|error| Error::io(OPERATION, error))?;
    let packed_bytes = Arc::new(AtomicU64::new(0));
    let counted =
        Counted { reader: Cursor::new(magic.clone()).chain(reader), bytes: Arc::clone(&packed_bytes) };
    let packed = BufReader::with_capacity(128 * 1024, counted);
    let decoder = match magic.as_slice() {
        [0x1f, 0x8b, ..] => Decoder::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(packed))),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)
                .map_err(|error| Error::io(OPERATION, error))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| Error::io(OPERATION, error))?;
            Decoder::Zstd(Box::new(decoder))
        }
        [b'B', b'Z', b'h', ..] | [0xfd, b'7', b'z', b'X'] => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                OPERATION,
                "the layer is compressed by bzip2 or xz",
            )
            .with_remedy("build the image with gzip, zstd or uncompressed layers"));
        }
        _ => Decoder::Plain(packed),
    };
    Ok(LayerStream { reader: decoder, hasher: Hasher::default(), packed_bytes, limits: limits.clone() })
}

pub(super) enum Decoder<R: Read> {
    Plain(Packed<R>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<Packed<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Packed<R>>>),
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (result, format) = match self {
            Self::Plain(reader) => return reader.read(buffer),
            Self::Gzip(reader) => (reader.read(buffer), "gzip"),
            Self::Zstd(reader) => (reader.read(buffer), "zstd"),
        };
        result.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::Other
                if !error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Error>) =>
            {
                Error::new(ErrorKind::Corrupt, OPERATION, format!("the {format} data is damaged: {error}"))
                    .into_io()
            }
            _ => error,
        })
    }
}

/// Counts what is read of the packed layer.
pub(super) struct Counted<R> {
    reader: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The uncompressed layer.
pub(super) struct LayerStream<R> {
    reader: R,
    hasher: Hasher,
    packed_bytes: Arc<AtomicU64>,
    limits: Limits,
}

impl<R: Read> LayerStream<R> {
    /// Reads what follows the end of the archive (it belongs to the digest) and gives digest and size of it all.
    pub(super) fn finish(mut self) -> Result<(Digest, u64)> {
        io::copy(&mut self, &mut io::sink()).map_err(|error| Error::io(OPERATION, error))?;
        Ok(self.hasher.finish())
    }
}

impl<R: Read> Read for LayerStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        let unpacked = self.hasher.bytes();
        let too_large = |message: String| Err(Error::new(ErrorKind::TooLarge, OPERATION, message).into_io());
        if unpacked > self.limits.unpacked_bytes {
            return too_large(format!("more than {} bytes unpacked", self.limits.unpacked_bytes));
        }
        let packed = self.packed_bytes.load(Ordering::Relaxed);
        if unpacked > self.limits.expansion_floor && unpacked / self.limits.expansion.max(1) > packed {
            return too_large(format!(
                "{unpacked} bytes came out of {packed}, more than {} times as many are not accepted",
                self.limits.expansion
            ));
        }
        Ok(count)
    }
}
