use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::testing::{HostileTar, TestImage, gzip};
use crate::{Archive, ExposedPort, FileMode, ImageBuilder, Layout, MediaType};

fn store_in(directory: &Path) -> ImageStore {
    ImageStore::open_with(directory, StoreOptions { sync: false, ..StoreOptions::default() }).unwrap()
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

struct Fixture {
    directory: TempDir,
    store: ImageStore,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = store_in(&directory.path().join("store"));
        Self { directory, store }
    }

    fn layout(&self, name: &str, image: &TestImage) -> Layout {
        let directory = self.directory.path().join(name);
        image.write_layout(&directory, "1");
        Layout::open(directory).unwrap()
    }

    async fn pull(&self, source: &dyn Source, name: &str) -> Result<Image> {
        self.store.pull(source, &reference(name), &PullOptions::default()).await
    }

    /// Everything in the store but its locks, to see that nothing is left behind.
    fn contents(&self) -> Vec<String> {
        let root = self.store.directory();
        let mut found = Vec::new();
        for part in ["blobs/sha256", "layers", "tmp"] {
            found.extend(
                fs::read_dir(root.join(part))
                    .unwrap()
                    .map(|e| format!("{part}/{}", e.unwrap().file_name().display())),
            );
        }
        found.sort();
        found
    }
}

fn sample() -> crate::BuiltImage {
    ImageBuilder::scratch(Platform::host())
        .with_file("/web", FileMode::PROGRAM, "program")
        .with_file("/etc/app/conf", FileMode::DATA, "x=1")
        .with_symlink("/bin/web", "/web")
        .with_entrypoint(["/web"])
        .with_cmd(["serve"])
        .with_env("MODE", "test")
        .with_user("1000:1000")
        .with_exposed_port(ExposedPort::tcp(8080))
        .with_label("version", "1")
        .build()
        .unwrap()
}

#[tokio::test]
async fn an_image_goes_from_builder_through_layout_and_archive_into_the_store() {
    let fixture = Fixture::new();
    let built = sample();
    let layout = fixture.directory.path().join("layout");
    let archive = fixture.directory.path().join("archive.tar");
    let tags = ["1".parse().unwrap(), "latest".parse().unwrap()];
    built.write_layout(&layout, &tags).unwrap();
    built.write_archive(&archive, &tags).unwrap();
    let from_layout = fixture.pull(&Layout::open(&layout).unwrap(), "localhost/web:1").await.unwrap();
    let from_archive = fixture.pull(&Archive::open(&archive).unwrap(), "localhost/web").await.unwrap();
    assert_eq!(from_layout.digest(), built.digest());
    assert_eq!(from_archive.digest(), built.digest());
    assert_eq!(from_archive.references().len(), 2);
    assert_eq!(from_layout.layers(), from_archive.layers());
    assert_eq!(fs::read(from_layout.layers()[0].join("web")).unwrap(), b"program");
    let config = from_layout.config();
    assert_eq!(config.command(), ["/web", "serve"]);
    assert_eq!(config.env, [("MODE".to_owned(), "test".to_owned())]);
    assert_eq!(config.user, "1000:1000");
    assert_eq!(config.exposed_ports, [ExposedPort::tcp(8080)]);
    // Manifest, configuration and the unpacked layer; nothing packed, nothing temporary.
    assert_eq!(fixture.contents().len(), 3, "{:?}", fixture.contents());
}

#[tokio::test]
async fn what_is_built_twice_is_the_same() {
    assert_eq!(sample().digest(), sample().digest());
    // Fixed, so that a change of how layers are packed is noticed: it would change every digest.
    let tiny = ImageBuilder::scratch("linux/amd64".parse().unwrap()).with_file("/a", FileMode::DATA, "a");
    let directory = tempfile::tempdir().unwrap();
    tiny.build().unwrap().write_layout(directory.path(), &[]).unwrap();
    let layout = Layout::open(directory.path()).unwrap();
    let images = layout.images().unwrap();
    assert_eq!((images.len(), images[0].name.as_deref()), (1, None));
}

#[tokio::test]
async fn a_layer_is_appended_to_a_base_and_shared_with_it() {
    let fixture = Fixture::new();
    let directory = fixture.directory.path().join("layout");
    sample().write_layout(&directory, &["base".parse().unwrap()]).unwrap();
    let base = Layout::open(&directory).unwrap();
    let derived = ImageBuilder::on(&base, &reference("localhost/web:base"), &Platform::host())
        .await
        .unwrap()
        .with_file("/etc/app/conf", FileMode::DATA, "x=2")
        .with_env("MODE", "two")
        .build()
        .unwrap();
    derived.write_layout(&directory, &["derived".parse().unwrap()]).unwrap();
    let one = fixture.pull(&base, "localhost/web:base").await.unwrap();
    let two = fixture.pull(&base, "localhost/web:derived").await.unwrap();
    assert_eq!(two.layers().len(), 2);
    assert_eq!(two.layers()[0], one.layers()[0]);
    assert_eq!(fs::read(two.layers()[1].join("etc/app/conf")).unwrap(), b"x=2");
    assert_eq!(two.config().entrypoint, ["/web"]);
    assert_eq!(two.config().env, [("MODE".to_owned(), "two".to_owned())]);
}

#[test]
fn a_builder_tells_all_faults_at_once() {
    let error = ImageBuilder::scratch(Platform::host())
        .with_file("../x", FileMode::DATA, "")
        .with_file("/a", FileMode::DATA, "")
        .with_file("/a/b", FileMode::DATA, "")
        .with_working_dir("/x/../y")
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.message().split("; ").count(), 3, "{error}");
}

#[tokio::test]
async fn content_that_differs_from_its_digest_is_refused_and_leaves_nothing() {
    let fixture = Fixture::new();
    let layer = HostileTar::default().file("a", b"a").finish();
    let image = TestImage::of_layer(&layer);
    let layout = fixture.layout("layout", &image);
    let blob = |bytes: &[u8]| layout.directory().join("blobs/sha256").join(Digest::of(bytes).hex());
    let damage = |bytes: &[u8], with: &[u8]| fs::write(blob(bytes), with).unwrap();
    let mut same_size = image.layers[0].clone();
    same_size[10] ^= 1;
    let longer = [&image.layers[0][..], b"x"].concat();
    for wrong in [&same_size[..], &longer, &image.layers[0][1..], b""] {
        damage(&image.layers[0], wrong);
        let error = fixture.pull(&layout, "localhost/a:1").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("localhost/a:1"), "{error}");
    }
    damage(&image.layers[0], &image.layers[0]);
    damage(&image.config, b"{}");
    assert_eq!(fixture.pull(&layout, "localhost/a:1").await.unwrap_err().kind(), ErrorKind::Corrupt);
    damage(&image.config, &image.config);
    damage(&image.manifest, b"{}");
    let by_digest = format!("localhost/a@{}", image.digest());
    assert_eq!(fixture.pull(&layout, &by_digest).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(fixture.contents(), Vec::<String>::new());
    assert!(fixture.store.images().unwrap().is_empty());
}

#[tokio::test]
async fn a_layer_that_is_not_what_the_configuration_says_is_refused() {
    let fixture = Fixture::new();
    let (said, given) =
        (HostileTar::default().file("a", b"a").finish(), HostileTar::default().file("a", b"b").finish());
    let image = TestImage::new(&[(&said, gzip(&given), MediaType::OCI_LAYER_GZIP)]);
    let error = fixture.pull(&fixture.layout("layout", &image), "localhost/a:1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(fixture.contents(), Vec::<String>::new());
}

#[tokio::test]
async fn a_hostile_layer_is_refused_and_leaves_nothing() {
    let fixture = Fixture::new();
    let image = TestImage::of_layer(&HostileTar::default().file("ok", b"").file("../evil", b"").finish());
    let error = fixture.pull(&fixture.layout("layout", &image), "localhost/a:1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Hostile, "{error}");
    assert_eq!(fixture.contents(), Vec::<String>::new());
}

#[tokio::test]
async fn all_packings_and_dockers_types_are_taken() {
    let fixture = Fixture::new();
    let plain = |name: &str| HostileTar::default().file(name, b"x").finish();
    let (a, b, c) = (plain("a"), plain("b"), plain("c"));
    let image = TestImage::new(&[
        (&a, a.clone(), MediaType::OCI_LAYER),
        (&b, zstd::encode_all(b.as_slice(), 3).unwrap(), MediaType::OCI_LAYER_ZSTD),
        (&c, gzip(&c), MediaType::DOCKER_LAYER_GZIP),
        (&a, gzip(&a), MediaType::DOCKER_LAYER_GZIP),
    ]);
    let pulled = fixture.pull(&fixture.layout("layout", &image), "localhost/a:1").await.unwrap();
    assert_eq!(pulled.layers().len(), 4);
    assert_eq!(pulled.layers()[0], pulled.layers()[3]);
    for (layer, name) in pulled.layers().iter().zip(["a", "b", "c", "a"]) {
        assert!(layer.join(name).exists());
    }
    assert_eq!(fixture.contents().len(), 5, "three layers and two documents: {:?}", fixture.contents());
}

#[tokio::test]
async fn without_a_tag_it_is_the_only_image_or_the_latest_one() {
    let fixture = Fixture::new();
    let layout = fixture.directory.path().join("layout");
    let location: crate::Location = format!("oci:{}", layout.display()).parse().unwrap();
    sample().write_layout(&layout, &["1".parse().unwrap()]).unwrap();
    let pull = async || {
        fixture.store.pull(&Layout::open(&layout)?, location.reference(), &PullOptions::default()).await
    };
    assert_eq!(pull().await.unwrap().digest(), sample().digest());

    let other = ImageBuilder::scratch(Platform::host()).with_entrypoint(["/other"]).build().unwrap();
    other.write_layout(&layout, &["2".parse().unwrap()]).unwrap();
    let error = pull().await.unwrap_err();
    assert!(error.to_string().contains("1, 2"), "{error}");
    other.write_layout(&layout, &["latest".parse().unwrap()]).unwrap();
    assert_eq!(pull().await.unwrap().digest(), other.digest());
}
