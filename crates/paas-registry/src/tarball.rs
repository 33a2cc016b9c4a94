//! Reading tar streams that may be hostile.
//!
//! The framing is our own over [`tar::Header`]: the `tar` crate's iterator reads long names and PAX records of any
//! size into memory, splits PAX values at newlines, and frames header-only entries unlike Go, with which layers are
//! made. Sources: POSIX.1-2017 `pax`, GNU tar manual "Basic Tar Format", Go's `archive/tar/reader.go`.

use std::io::{self, Read};

use crate::{Error, ErrorKind, Result};

const BLOCK: usize = 512;
/// The longest GNU long name or link that is read at all.
const LONG_NAME_MAX: u64 = 64 * 1024;
/// The largest PAX header; extended attributes are the only large things in it.
const PAX_MAX: u64 = 1024 * 1024;
/// How many long-name and PAX headers may come before one entry.
const EXTENSIONS_MAX: usize = 16;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    Symlink,
    HardLink,
    Fifo,
    Device,
}

/// One entry, extensions applied. Its content is read from the [`TarReader`].
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    pub(crate) size: u64,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the content starts in the stream.
    pub(crate) offset: u64,
}

/// A tar stream: entries by [`TarReader::next_entry`], the content of the last one by [`Read`].
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    reader: R,
    operation: &'static str,
    /// Content of the current entry that was not read yet, and the padding after it.
    content: u64,
    padding: u64,
    offset: u64,
}

#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax_path: Option<Vec<u8>>,
    pax_link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<i64>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<R: Read> TarReader<R> {
    /// Reads `reader`; `operation` is what errors say failed.
    pub(crate) fn new(reader: R, operation: &'static str) -> Self {
        Self { reader, operation, content: 0, padding: 0, offset: 0 }
    }

    pub(crate) fn into_inner(self) -> R {
        self.reader
    }

    /// The next entry, or `None` at the end of the archive.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        for _ in 0..=EXTENSIONS_MAX {
            self.skip(self.content + self.padding)?;
            (self.content, self.padding) = (0, 0);
            let Some(header) = self.read_header()? else { return Ok(None) };
            let stated = header.entry_size().map_err(|error| self.corrupt(error.to_string()))?;
            match header.entry_type().as_byte() {
                b'L' => extensions.path = Some(self.read_name(stated)?),
                b'K' => extensions.link = Some(self.read_name(stated)?),
                b'x' | b'X' => {
                    let records = self.read_extension(stated, PAX_MAX)?;
                    self.apply_pax(&records, &mut extensions)?;
                }
                // Global records: comments of `git archive` and the like; nothing in them concerns a layer.
                b'g' => drop(self.read_extension(stated, PAX_MAX)?),
                _ => return self.entry(&header, stated, extensions).map(Some),
            }
        }
        Err(Error::new(ErrorKind::Hostile, self.operation, "an entry has more than 16 extension headers"))
    }

    fn entry(&mut self, header: &tar::Header, stated: u64, extensions: Extensions) -> Result<Entry> {
        let number = |value: io::Result<u64>| value.map_err(|error| self.corrupt(error.to_string()));
        let path =
            extensions.pax_path.or(extensions.path).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extensions.pax_link.or(extensions.link).unwrap_or_else(|| {
            header.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default()
        });
        let mut size = extensions.size.unwrap_or(stated);
        let kind = match header.entry_type().as_byte() {
            // The first tars had no directories: a trailing slash makes one.
            b'0' | b'\0' if path.ends_with(b"/") => EntryKind::Directory,
            b'0' | b'\0' | b'7' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' | b'4' => EntryKind::Device,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            b'S' => return Err(self.sparse()),
            other => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    self.operation,
                    format!("the archive has an entry of the unknown type {:?}", char::from(other)),
                ));
            }
        };
        // As Go has it: these have no content, whatever size they state.
        if kind != EntryKind::File {
            size = 0;
        }
        let mode = header.mode().map_err(|error| self.corrupt(error.to_string()))?;
        let entry = Entry {
            path,
            link,
            kind,
            mode: mode & 0o7777,
            uid: extensions.uid.map_or_else(|| number(header.uid()), Ok)?,
            gid: extensions.gid.map_or_else(|| number(header.gid()), Ok)?,
            mtime: extensions.mtime.map_or_else(
                || number(header.mtime()).map(|seconds| seconds.try_into().unwrap_or(i64::MAX)),
                Ok,
            )?,
            size,
            xattrs: extensions.xattrs,
            offset: self.offset,
        };
        // An offset beyond i64 is one that no file has; it also keeps all sums below from overflowing.
        let whole = size.checked_next_multiple_of(BLOCK as u64).filter(|whole| i64::try_from(*whole).is_ok());
        let whole = whole.ok_or_else(|| self.corrupt("an entry states an impossible size".to_owned()))?;
        self.content = size;
        self.padding = whole - size;
        Ok(entry)
    }

    /// A header whose checksum is right, or `None` at the end.
    fn read_header(&mut self) -> Result<Option<tar::Header>> {
        let mut header = tar::Header::new_old();
        if !self.read_block(header.as_mut_bytes())? {
            return Ok(None);
        }
        let bytes = header.as_bytes();
        if bytes.iter().all(|byte| *byte == 0) {
            let mut second = [0; BLOCK];
            if self.read_block(&mut second)? && second.iter().any(|byte| *byte != 0) {
                return Err(self.corrupt("data follows the end mark".to_owned()));
            }
            return Ok(None);
        }
        let sum = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        match header.cksum() {
            Ok(stated) if stated == sum => Ok(Some(header)),
            _ => Err(self.corrupt(
                "a header has a wrong checksum: this is no tar archive, or a damaged one".to_owned(),
            )),
        }
    }

    /// Fills the block; `false` if the stream ended before it.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(self.corrupt("the archive ends in the middle of a header".to_owned())),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(self.operation, error)),
            }
        }
        self.offset += BLOCK as u64;
        Ok(true)
    }

    fn read_name(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut name = self.read_extension(size, LONG_NAME_MAX)?;
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    fn read_extension(&mut self, size: u64, limit: u64) -> Result<Vec<u8>> {
        if size > limit {
            return Err(Error::new(
                ErrorKind::TooLarge,
                self.operation,
                format!("a long name or PAX header has {size} bytes, {limit} are accepted"),
            ));
        }
        self.content = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(|error| Error::io(self.operation, error))?;
        Ok(bytes)
    }

    fn apply_pax(&self, mut records: &[u8], extensions: &mut Extensions) -> Result<()> {
        let malformed = || self.corrupt("a PAX record is malformed".to_owned());
        while !records.is_empty() {
            // "<length> <key>=<value>\n", where the length counts itself and the newline.
            let space = records.iter().take(20).position(|byte| *byte == b' ').ok_or_else(malformed)?;
            let length = parse_number(&records[..space]).ok_or_else(malformed)?;
            let length = usize::try_from(length).map_err(|_| malformed())?;
            if length <= space + 1 || length > records.len() || records[length - 1] != b'\n' {
                return Err(malformed());
            }
            let (record, rest) = records.split_at(length);
            records = rest;
            let record = &record[space + 1..length - 1];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => extensions.pax_path = Some(value.to_owned()),
                b"linkpath" => extensions.pax_link = Some(value.to_owned()),
                b"size" => extensions.size = Some(parse_number(value).ok_or_else(malformed)?),
                b"uid" => extensions.uid = Some(parse_number(value).ok_or_else(malformed)?),
                b"gid" => extensions.gid = Some(parse_number(value).ok_or_else(malformed)?),
                b"mtime" => {
                    let text = std::str::from_utf8(value).map_err(|_| malformed())?;
                    let seconds = text.split('.').next().unwrap_or(text);
                    extensions.mtime = Some(seconds.parse().map_err(|_| malformed())?);
                }
                _ if key.starts_with(b"GNU.sparse.") => return Err(self.sparse()),
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        extensions.xattrs.push((name.to_owned(), value.to_owned()));
                    }
                }
            }
        }
        Ok(())
    }

    fn skip(&mut self, mut bytes: u64) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        while bytes > 0 {
            let wanted = usize::try_from(bytes).unwrap_or(usize::MAX).min(buffer.len());
            match self.reader.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(self.corrupt("the archive ends in the middle of an entry".to_owned())),
                Ok(count) => {
                    bytes -= count as u64;
                    self.offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(self.operation, error)),
            }
        }
        Ok(())
    }

    fn sparse(&self) -> Error {
        Error::new(ErrorKind::Unsupported, self.operation, "the archive has a sparse file")
            .with_remedy("build the image again without sparse entries, as container tools do")
    }

    fn corrupt(&self, message: String) -> Error {
        Error::new(ErrorKind::Corrupt, self.operation, message)
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.content).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive ends in the middle of an entry",
            ));
        }
        self.content -= count as u64;
        self.offset += count as u64;
        Ok(count)
    }
}

fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
