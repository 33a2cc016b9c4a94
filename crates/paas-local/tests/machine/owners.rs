//! Images whose files belong to somebody, and whose upper layers delete what lower ones have.

use std::path::Path;

use paas_core::conformance::Promise;
use paas_registry::{Digest, Platform};
use serde_json::{Value, json};

use super::fixture::{Fixture, get_from};
use super::image::Made;
use crate::support::program;

pub(crate) fn promises() -> Vec<Promise<Fixture>> {
    vec![Promise {
        name: "files_belong_to_the_ids_of_the_image_and_deleted_ones_are_gone",
        check: |fixture| Box::pin(files_belong_to_the_ids_of_the_image_and_deleted_ones_are_gone(fixture)),
    }]
}

async fn files_belong_to_the_ids_of_the_image_and_deleted_ones_are_gone(fixture: &Fixture) {
    let made = image(&fixture.state().join("owners"));
    let mut template = fixture.web(&fixture.component("web"));
    (template.image, template.digest) = (made.location, made.digest);
    template.security.user = Some("1000:1001".to_owned());
    let key = fixture.ensure(template, 1).await;
    fixture.until_ready(&key, 1).await;
    let set = fixture.observe(&key).await.expect("the set is there");
    let ask = async |path: &str| get_from(fixture, &set.instances[0].id, path).await;
    assert_eq!(ask("/file/home/secret").await, "for 1000 only", "its user reads what belongs to it");
    assert_eq!(
        ask("/file/etc/root-only").await,
        "Permission denied (os error 13)",
        "and not what belongs to root"
    );
    assert_eq!(ask("/file/etc/deleted").await, "No such file or directory (os error 2)", "a whiteout hides");
    assert_eq!(
        ask("/file/srv/hidden").await,
        "No such file or directory (os error 2)",
        "an opaque folder hides"
    );
    assert_eq!(ask("/file/srv/new").await, "new");
}

type Entry = (&'static str, (u64, u64), u32, Option<Vec<u8>>);

/// Two layers, written by hand: what builds images elsewhere has no owners.
fn image(layout: &Path) -> Made {
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let lower: Vec<Entry> = vec![
        ("app", (0, 0), 0o755, Some(std::fs::read(program::path()).expect("the program"))),
        ("etc/", (0, 0), 0o755, None),
        ("etc/deleted", (0, 0), 0o644, text("still here")),
        ("etc/root-only", (0, 0), 0o600, text("for root only")),
        ("home/", (1000, 1001), 0o700, None),
        ("home/secret", (1000, 1001), 0o400, text("for 1000 only")),
        ("srv/", (0, 0), 0o755, None),
        ("srv/hidden", (0, 0), 0o644, text("still here")),
    ];
    let upper: Vec<Entry> = vec![
        ("etc/.wh.deleted", (0, 0), 0o644, text("")),
        ("srv/.wh..wh..opq", (0, 0), 0o644, text("")),
        ("srv/new", (0, 0), 0o644, text("new")),
    ];
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("folders");
    let put = |bytes: &[u8], kind: &str| -> Value {
        let digest = Digest::of(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).expect("a blob");
        json!({"mediaType": kind, "digest": digest.to_string(), "size": bytes.len()})
    };
    let layers = [lower, upper].map(|entries| put(&tar(&entries), "application/vnd.oci.image.layer.v1.tar"));
    let platform = Platform::host();
    let config = json!({
        "architecture": platform.architecture, "os": "linux",
        "config": {"Entrypoint": ["/app"]},
        "rootfs": {"type": "layers", "diff_ids": layers.each_ref().map(|layer| layer["digest"].clone())},
    });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json"),
        "layers": layers,
    });
    let mut listed = put(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    let digest = listed["digest"].as_str().expect("just made").to_owned();
    listed["annotations"] = json!({"org.opencontainers.image.ref.name": "1"});
    let index = json!({"schemaVersion": 2, "manifests": [listed]});
    std::fs::write(layout.join("index.json"), index.to_string()).expect("the index");
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("the mark");
    Made { location: format!("oci:{}:1", layout.display()), digest }
}

fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, (uid, gid), mode, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_uid(*uid);
        header.set_gid(*gid);
        header.set_mode(*mode);
        let content = content.as_deref();
        header.set_entry_type(if content.is_some() {
            tar::EntryType::Regular
        } else {
            tar::EntryType::Directory
        });
        header.set_size(content.map_or(0, |bytes| bytes.len() as u64));
        tar.append_data(&mut header, path, content.unwrap_or_default()).expect("it is written");
    }
    tar.into_inner().expect("it is written")
}
