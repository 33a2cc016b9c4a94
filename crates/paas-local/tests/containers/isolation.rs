//! What an instance cannot do, and who it is.

use std::sync::Arc;
use std::time::Duration;

use paas_local::{ErrorKind, Secrets};

use super::machine::Machine;
use crate::cases;

cases![
    rights_are_those_that_container_engines_keep,
    users_come_from_the_image,
    forbidden_system_calls_fail,
    a_read_only_root_cannot_be_written,
    the_images_tmp_is_not_covered,
    host_paths_are_hidden,
    links_of_the_image_lead_into_the_image,
    layers_cover_each_other,
    nothing_of_the_server_leaks_into_it,
    processes_are_limited,
    processors_are_limited,
    devices_are_there,
];

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)).map_or_else(|| panic!("no {name}"), str::trim)
}

async fn rights_are_those_that_container_engines_keep(machine: Arc<Machine>) {
    let status = machine.output(&machine.spec("root", &["status"])).await;
    // The fourteen that container engines keep.
    for set in ["CapBnd:", "CapEff:", "CapPrm:"] {
        assert_eq!(field(&status, set), "00000000a80425fb", "{set}");
    }
    for set in ["CapAmb:", "CapInh:"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs:"), "1");
    assert_eq!(field(&status, "Seccomp:"), "2");
    assert_eq!(field(&status, "Pid:"), "1");

    let mut spec = machine.spec("app", &["status"]);
    spec.user = Some("app".into());
    let status = machine.output(&spec).await;
    assert_eq!(field(&status, "CapEff:"), "0000000000000000");
    assert_eq!(field(&status, "CapPrm:"), "0000000000000000");
}

async fn users_come_from_the_image(machine: Arc<Machine>) {
    let mut spec = machine.spec("app", &["status"]);
    spec.user = Some("app".into());
    let status = machine.output(&spec).await;
    assert_eq!(field(&status, "Uid:"), "1000\t1000\t1000\t1000");
    assert_eq!(field(&status, "Gid:"), "1001\t1001\t1001\t1001");
    assert_eq!(field(&status, "Groups:"), "33");
    spec.user = Some("1234:33".into());
    let status = machine.output(&spec).await;
    assert_eq!(field(&status, "Uid:"), "1234\t1234\t1234\t1234");
    assert_eq!(field(&status, "Gid:"), "33\t33\t33\t33");
    assert_eq!(field(&status, "Groups:"), "");
    // Log files that are links to the standard streams can be opened by any user.
    let mut spec = machine.spec("logger", &["write", "/dev/stdout", "through the device\n"]);
    spec.user = Some("app".into());
    assert_eq!(machine.output(&spec).await, "through the device\nwritten\n");
}

async fn forbidden_system_calls_fail(machine: Arc<Machine>) {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    // mount, umount2, bpf, setns, unshare(CLONE_NEWUSER), clone3, io_uring_setup, personality(0xdead), keyctl, x32 getpid.
    for (call, first, errno) in [
        (165, 0, 1),
        (166, 0, 1),
        (321, 0, 1),
        (308, 0, 1),
        (272, 0x1000_0000, 1),
        (435, 0, 38),
        (425, 1, 38),
        (135, 0xdead, 1),
        (250, 0, 1),
        (0x4000_0000 + 39, 0, 38),
    ] {
        let spec = machine.spec("call", &["syscall", &call.to_string(), &first.to_string()]);
        assert_eq!(machine.output(&spec).await, format!("-1 {errno}\n"), "call {call}");
    }
    // unshare(CLONE_FS), personality(0xffffffff).
    for (call, first) in [(272, 0x200), (135, 0xffff_ffff_u32)] {
        let spec = machine.spec("call", &["syscall", &call.to_string(), &first.to_string()]);
        assert!(machine.output(&spec).await.starts_with("0 "), "call {call}");
    }
}

async fn a_read_only_root_cannot_be_written(machine: Arc<Machine>) {
    let mut spec = machine.spec("fixed", &["write", "/etc/file", "x"]);
    assert_eq!(machine.output(&spec).await, "written\n");
    spec.read_only_root = true;
    assert_eq!(machine.output(&spec).await, "ReadOnlyFilesystem\n");
    let mut spec = machine.spec("fixed", &["write", "/tmp/file", "x"]);
    spec.read_only_root = true;
    assert_eq!(machine.output(&spec).await, "written\n");
}

async fn the_images_tmp_is_not_covered(machine: Arc<Machine>) {
    std::fs::create_dir(machine.layer().join("tmp")).expect("a folder");
    std::fs::write(machine.layer().join("tmp/from-the-image"), "here").expect("a file");
    assert_eq!(machine.output(&machine.spec("tmp", &["cat", "/tmp/from-the-image"])).await, "here");
}

async fn host_paths_are_hidden(machine: Arc<Machine>) {
    let said = machine.output(&machine.spec("keys", &["cat", "/proc/keys", "/proc/timer_list"])).await;
    assert_eq!(said, "");
    let said = machine.output(&machine.spec("sysctl", &["write", "/proc/sys/kernel/hostname", "x"])).await;
    assert_eq!(said, "ReadOnlyFilesystem\n");
    let said = machine.output(&machine.spec("root", &["ls", "/"])).await;
    assert_eq!(said, "app\ndev\netc\nproc\nsys\ntmp\n");
    let said = machine.output(&machine.spec("where", &["where"])).await;
    assert_eq!(said, "/\n");
}

async fn links_of_the_image_lead_into_the_image(machine: Arc<Machine>) {
    let outside = machine.path("outside");
    std::fs::create_dir(&outside).expect("a folder");
    std::fs::write(outside.join("hosts"), "untouched").expect("a file");
    std::fs::create_dir(machine.layer().join("outside")).expect("a folder");
    // /etc/hosts and a volume's target are links that would leave the image if they were followed on the host.
    let link = |target: &std::path::Path, name: &str| {
        std::os::unix::fs::symlink(target, machine.layer().join(name)).expect("a link");
    };
    link(&outside.join("hosts"), "etc/hosts");
    link(std::path::Path::new("../../../../../../.."), "up");
    let mut spec = machine.spec("links", &["cat", "/etc/hosts"]);
    spec.volumes = vec![paas_local::Volume {
        source: machine.path("volume"),
        target: "/up/etc/volume".into(),
        read_only: false,
    }];
    let said = machine.output(&spec).await;
    assert!(said.starts_with("127.0.0.1\tlocalhost"), "{said}");
    assert_eq!(std::fs::read_to_string(outside.join("hosts")).expect("the file"), "untouched");
    assert!(!std::path::Path::new("/etc/volume").exists());
    // A user that only a file of the host knows, which the image's list of users leads to.
    std::fs::write(outside.join("passwd"), "outsider:x:0:0::/:/bin/sh\n").expect("a file");
    std::fs::remove_file(machine.layer().join("etc/passwd")).expect("it goes");
    link(
        &std::path::Path::new("../../../../../../..")
            .join(outside.join("passwd").strip_prefix("/").expect("it is absolute")),
        "etc/passwd",
    );
    let mut spec = machine.spec("outsider", &["env"]);
    spec.user = Some("outsider".into());
    let error = machine.instances.start(&spec, Secrets::default()).await.expect_err("it is unknown");
    assert_eq!(error.kind(), ErrorKind::BadUser, "{error}");
}

async fn layers_cover_each_other(machine: Arc<Machine>) {
    let upper = machine.path("second-layer");
    std::fs::create_dir_all(upper.join("etc")).expect("a folder");
    std::fs::write(upper.join("etc/passwd"), "root:x:0:0::/second:/bin/sh\n").expect("a file");
    let mut spec = machine.spec("layers", &["env"]);
    // The same layer twice, as images with repeated empty layers have it.
    spec.layers = vec![machine.layer().to_path_buf(), upper.clone(), upper];
    assert!(machine.output(&spec).await.contains("HOME=/second\n"));
}

async fn nothing_of_the_server_leaks_into_it(machine: Arc<Machine>) {
    // Deliberately without close-on-exec, as some library of an embedding program might have it.
    let leaky =
        rustix::fs::open("/dev/null", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).expect("a file");
    let said = machine.output(&machine.spec("fds", &["descriptors"])).await;
    assert_eq!(said, "[0, 1, 2]\n");
    drop(leaky);
}

async fn processes_are_limited(machine: Arc<Machine>) {
    let mut spec = machine.spec("forks", &["forks", "20"]);
    spec.limits.pids = Some(5);
    let said = machine.output(&spec).await;
    let children: u32 = said.split(' ').next().and_then(|count| count.parse().ok()).expect("a number");
    if machine.host.limits_pids() {
        assert!(children < 5, "{said}");
    } else {
        assert_eq!(children, 20, "{said}");
    }
}

/// What a busy loop of two seconds gets of a processor.
async fn gets(machine: &Machine, id: &str, limit: Option<u32>) -> Duration {
    let mut spec = machine.spec(id, &["spin", "2000"]);
    spec.limits.cpu_millis = limit;
    let said = machine.output(&spec).await;
    Duration::from_millis(said.trim().parse().expect("a number"))
}

async fn processors_are_limited(machine: Arc<Machine>) {
    // 50 thousandths of two seconds are 100 ms. Without a limit it gets several times as much, on a busy machine too.
    let plenty = Duration::from_millis(300);
    let limited = gets(&machine, "limited", Some(50)).await;
    if machine.host.limits_cpu() {
        assert!(limited <= Duration::from_millis(150), "{limited:?}");
    } else {
        assert!(limited > plenty, "a limit that cannot be had keeps nothing from running: {limited:?}");
    }
    let free = gets(&machine, "free", None).await;
    assert!(free > plenty, "{free:?}");
}

async fn devices_are_there(machine: Arc<Machine>) {
    let said = machine.output(&machine.spec("dev", &["ls", "/dev"])).await;
    let expected = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    assert_eq!(said.lines().collect::<Vec<_>>().join(" "), expected);
    assert_eq!(machine.output(&machine.spec("null", &["write", "/dev/null", "x"])).await, "written\n");
}
