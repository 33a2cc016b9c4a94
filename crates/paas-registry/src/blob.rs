//! Content as a stream.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use crate::{Error, ErrorKind, Result};

/// Content of a blob as it comes from its source: not verified yet.
pub type BlobReader = Pin<Box<dyn AsyncRead + Send>>;

/// How much of a file is read at once.
const CHUNK: usize = 256 * 1024;

/// A range of a file, or of memory.
#[derive(Debug, Clone)]
pub(crate) enum Located {
    File { file: Arc<File>, offset: u64, size: u64 },
    Memory(Bytes),
}

impl Located {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// All of it, if it is not larger than `limit`.
    pub(crate) fn read_all(&self, operation: &'static str, limit: u64) -> Result<Bytes> {
        if self.size() > limit {
            return Err(Error::new(
                ErrorKind::TooLarge,
                operation,
                format!("a document has {} bytes, {limit} are accepted", self.size()),
            ));
        }
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes).map_err(|error| Error::io(operation, error))?;
        Ok(bytes.into())
    }

    /// A blocking reader.
    pub(crate) fn reader(&self) -> LocatedReader {
        LocatedReader { located: self.clone(), position: 0 }
    }

    /// An asynchronous reader, which reads on the threads for blocking work.
    pub(crate) fn into_async(self) -> BlobReader {
        let size = self.size();
        let chunks = stream::try_unfold((self, 0), move |(located, position): (Self, u64)| async move {
            if position >= size {
                return Ok(None);
            }
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk = vec![0; CHUNK];
                let count = located.read_at(position, &mut chunk)?;
                chunk.truncate(count);
                Ok::<_, io::Error>((located, chunk))
            });
            let (located, chunk) = read.await.map_err(io::Error::other)??;
            if chunk.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let next = position + chunk.len() as u64;
            Ok(Some((Bytes::from(chunk), (located, next))))
        });
        Box::pin(StreamReader::new(Box::pin(chunks)))
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size().saturating_sub(position)).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        match self {
            Self::File { file, offset, .. } => file.read_at(&mut buffer[..wanted], offset + position),
            Self::Memory(bytes) => {
                let start = usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
                buffer[..wanted].copy_from_slice(&bytes[start..start + wanted]);
                Ok(wanted)
            }
        }
    }
}

/// Reads a [`Located`] from its start.
pub(crate) struct LocatedReader {
    located: Located,
    position: u64,
}

impl Read for LocatedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.located.read_at(self.position, buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}
