//! Test support: tars with any header whatever, layouts with any document whatever.

use std::path::Path;

use crate::spec::{ANNOTATION_REF_NAME, Index, Manifest};
use crate::{Descriptor, Digest, MediaType};

/// Writes tars that no honest tool would.
#[derive(Default)]
pub(crate) struct HostileTar {
    bytes: Vec<u8>,
}

impl HostileTar {
    /// An entry whose header holds exactly what is given.
    pub(crate) fn raw(
        mut self,
        kind: u8,
        path: &[u8],
        link: &[u8],
        mode: u32,
        stated: u64,
        content: &[u8],
    ) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(stated);
        header.set_entry_type(tar::EntryType::new(kind));
        let bytes = header.as_mut_bytes();
        bytes[..path.len().min(100)].copy_from_slice(&path[..path.len().min(100)]);
        bytes[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.pad(content)
    }

    pub(crate) fn bytes_as_they_are(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn pad(mut self, content: &[u8]) -> Self {
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.raw(b'0', path.as_bytes(), b"", 0o644, content.len() as u64, content)
    }

    pub(crate) fn dir(self, path: &str, mode: u32) -> Self {
        self.raw(b'5', path.as_bytes(), b"", mode, 0, b"")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.raw(b'2', path.as_bytes(), target.as_bytes(), 0o777, 0, b"")
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.raw(b'1', path.as_bytes(), target.as_bytes(), 0o644, 0, b"")
    }

    /// A PAX header for the entry that follows.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            bytes.extend_from_slice(format!("{length} {key}=").as_bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        self.raw(b'x', b"PaxHeader", b"", 0o644, bytes.len() as u64, &bytes)
    }

    /// A GNU long name (`L`) or long link (`K`) for the entry that follows.
    pub(crate) fn gnu_long(self, kind: u8, name: &[u8]) -> Self {
        let mut bytes = name.to_owned();
        bytes.push(0);
        self.raw(kind, b"././@LongLink", b"", 0o644, bytes.len() as u64, &bytes)
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The documents of an image with these layers, each given uncompressed and as it is to be stored.
pub(crate) struct TestImage {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Vec<u8>>,
}

impl TestImage {
    pub(crate) fn new(layers: &[(&[u8], Vec<u8>, &str)]) -> Self {
        let diff_ids: Vec<String> =
            layers.iter().map(|(plain, _, _)| Digest::of(plain).to_string()).collect();
        let platform = crate::Platform::host();
        let config = serde_json::json!({
            "os": platform.os, "architecture": platform.architecture,
            "config": { "Entrypoint": ["/run"], "Env": ["A=1"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        Self::with_config(layers, config.to_string().into_bytes())
    }

    pub(crate) fn with_config(layers: &[(&[u8], Vec<u8>, &str)], config: Vec<u8>) -> Self {
        let descriptors =
            layers.iter().map(|(_, stored, media_type)| Descriptor::of(media_type, stored)).collect();
        let manifest = Manifest::new(Descriptor::of(MediaType::OCI_CONFIG, &config), descriptors);
        Self {
            manifest: serde_json::to_vec(&manifest).unwrap(),
            config,
            layers: layers.iter().map(|(_, stored, _)| stored.clone()).collect(),
        }
    }

    /// One gzip layer.
    pub(crate) fn of_layer(plain: &[u8]) -> Self {
        Self::new(&[(plain, gzip(plain), MediaType::OCI_LAYER_GZIP)])
    }

    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.layers.iter().chain([&self.config, &self.manifest])
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    pub(crate) fn write_layout(&self, directory: &Path, tag: &str) {
        let mut descriptor = Descriptor::of(MediaType::OCI_MANIFEST, &self.manifest);
        descriptor.annotations.insert(ANNOTATION_REF_NAME.to_owned(), tag.to_owned());
        let blobs: Vec<&Vec<u8>> = self.blobs().collect();
        write_layout(directory, &Index::new(vec![descriptor]), &blobs);
    }
}

pub(crate) fn write_layout(directory: &Path, index: &Index, blobs: &[&Vec<u8>]) {
    let to = directory.join("blobs/sha256");
    std::fs::create_dir_all(&to).unwrap();
    for blob in blobs {
        std::fs::write(to.join(Digest::of(blob).hex()), blob).unwrap();
    }
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    std::fs::write(directory.join("index.json"), serde_json::to_vec(index).unwrap()).unwrap();
}
