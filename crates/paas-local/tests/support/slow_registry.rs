//! A registry on loopback that serves a layout (OCI Distribution Specification 1.1, "Pulling") and takes its time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

/// In how many pieces a layer comes.
const PIECES: usize = 50;
/// What is larger is a layer.
const DOCUMENT: usize = 64 * 1024;

/// A registry that serves a layout until it is dropped.
pub(crate) struct SlowRegistry {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
}

impl SlowRegistry {
    /// Serves the layout of a folder; each layer takes so long.
    pub(crate) fn start(layout: &Path, layer: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let closing = Arc::new(AtomicBool::new(false));
        let (closed, layout) = (Arc::clone(&closing), layout.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if closed.load(Ordering::SeqCst) {
                    return;
                }
                let (closed, layout) = (Arc::clone(&closed), layout.clone());
                // A client that goes away in the middle is none of its business.
                std::thread::spawn(move || drop(serve(stream, &layout, layer, &closed)));
            }
        });
        Self { address, closing }
    }

    /// The reference of one of its images.
    pub(crate) fn reference(&self, tag: &str) -> String {
        format!("{}/shop/web:{tag}", self.address)
    }
}

impl Drop for SlowRegistry {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        // It is waiting for a connection.
        drop(TcpStream::connect(self.address));
    }
}

/// Answers one request of a connection.
fn serve(mut stream: TcpStream, layout: &Path, layer: Duration, closing: &AtomicBool) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or_default();
    let found = match path.strip_prefix("/v2/shop/web/").and_then(|path| path.split_once('/')) {
        Some(("manifests", reference)) => manifest(layout, reference),
        Some(("blobs", digest)) => {
            blob(layout, digest).map(|bytes| ("application/octet-stream".into(), bytes))
        }
        _ => None,
    };
    let Some((kind, bytes)) = found else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let length = bytes.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    if length < DOCUMENT {
        return stream.write_all(&bytes);
    }
    for piece in bytes.chunks(length.div_ceil(PIECES)) {
        if closing.load(Ordering::SeqCst) {
            return Ok(());
        }
        stream.write_all(piece)?;
        std::thread::sleep(layer / u32::try_from(PIECES).expect("a small number"));
    }
    Ok(())
}

/// A manifest by tag or digest, with its media type.
fn manifest(layout: &Path, reference: &str) -> Option<(String, Vec<u8>)> {
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).ok()?).ok()?;
    let mut listed = index["manifests"].as_array()?.iter();
    let descriptor = listed.find(|descriptor| {
        let tag = &descriptor["annotations"]["org.opencontainers.image.ref.name"];
        descriptor["digest"] == reference || *tag == reference
    })?;
    Some((descriptor["mediaType"].as_str()?.to_owned(), blob(layout, descriptor["digest"].as_str()?)?))
}

fn blob(layout: &Path, digest: &str) -> Option<Vec<u8>> {
    let (algorithm, hex) = digest.split_once(':')?;
    std::fs::read(layout.join("blobs").join(algorithm).join(PathBuf::from(hex).file_name()?)).ok()
}
