//! What cannot run says why, and leaves nothing.

use std::{os::unix::fs::PermissionsExt, sync::Arc};

use paas_local::{Command, Error, ErrorKind, InstanceSpec, Secrets};

use super::machine::{Machine, text};
use crate::cases;

cases![
    a_missing_program_is_named,
    a_program_without_permission_is_named,
    a_program_for_another_machine_is_named,
    a_missing_interpreter_is_named,
    an_unknown_user_is_named,
    a_missing_layer_is_named,
    a_working_directory_that_is_a_file_is_named,
    an_image_whose_proc_is_a_link_is_refused,
    every_fault_of_a_specification_is_told_at_once,
    too_much_memory_is_told_as_such,
];

async fn refused(machine: &Machine, spec: &InstanceSpec) -> Error {
    let error = machine.instances.start(spec, Secrets::default()).await.expect_err("it cannot start");
    assert!(machine.instances.list().expect("a list").is_empty(), "nothing is left of it");
    error
}

async fn a_missing_program_is_named(machine: Arc<Machine>) {
    let mut spec = machine.spec("missing", &[]);
    spec.command = Command::Program(vec!["/no/such/program".into()]);
    let error = refused(&machine, &spec).await;
    assert_eq!(error.kind(), ErrorKind::EntryPointMissing);
    assert!(error.to_string().contains("/no/such/program is not in the image"), "{error}");
    spec.command = Command::Program(vec!["nothing".into()]);
    let error = refused(&machine, &spec).await;
    assert_eq!(error.kind(), ErrorKind::EntryPointMissing);
    assert!(
        error.to_string().contains("\"nothing\" is not in the image (looked in PATH /usr/local/sbin"),
        "{error}"
    );
}

async fn a_program_without_permission_is_named(machine: Arc<Machine>) {
    std::fs::write(machine.layer().join("data"), "text").expect("a file");
    let mut spec = machine.spec("denied", &[]);
    spec.command = Command::Program(vec!["/data".into()]);
    let error = refused(&machine, &spec).await;
    assert_eq!(error.kind(), ErrorKind::EntryPointNotExecutable);
    assert!(error.to_string().contains("its permissions are 644"), "{error}");
}

fn write_program(machine: &Machine, name: &str, bytes: &[u8]) -> InstanceSpec {
    let path = machine.layer().join(name);
    std::fs::write(&path, bytes).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let mut spec = machine.spec(name, &[]);
    spec.command = Command::Program(vec![format!("/{name}")]);
    spec
}

async fn a_program_for_another_machine_is_named(machine: Arc<Machine>) {
    let mut foreign = std::fs::read(machine.layer().join("app")).expect("the program");
    // `e_machine` of the ELF header: s390x.
    foreign[18..20].copy_from_slice(&22_u16.to_le_bytes());
    let error = refused(&machine, &write_program(&machine, "foreign", &foreign)).await;
    assert_eq!(error.kind(), ErrorKind::WrongArchitecture);
    assert!(error.to_string().contains("it is an ELF program for s390x (64 bits)"), "{error}");
    let error = refused(&machine, &write_program(&machine, "prose", b"once upon a time\n")).await;
    assert_eq!(error.kind(), ErrorKind::WrongArchitecture);
    assert!(error.to_string().contains("neither an ELF program nor a script"), "{error}");
}

async fn a_missing_interpreter_is_named(machine: Arc<Machine>) {
    let error = refused(&machine, &write_program(&machine, "script", b"#!/bin/bash -e\necho\n")).await;
    assert_eq!(error.kind(), ErrorKind::EntryPointMissing);
    assert!(error.to_string().contains("its interpreter \"/bin/bash\" is not"), "{error}");
}

async fn an_unknown_user_is_named(machine: Arc<Machine>) {
    let mut spec = machine.spec("stranger", &["env"]);
    spec.user = Some("stranger".into());
    let error = refused(&machine, &spec).await;
    assert_eq!(error.kind(), ErrorKind::BadUser);
    assert!(error.to_string().contains("no user \"stranger\""), "{error}");
}

async fn a_missing_layer_is_named(machine: Arc<Machine>) {
    let mut spec = machine.spec("hollow", &["env"]);
    spec.layers.push("/nowhere/layer".into());
    let error = refused(&machine, &spec).await;
    assert_eq!(error.kind(), ErrorKind::InvalidImage);
    assert!(error.to_string().contains("/nowhere/layer is not there"), "{error}");
}

async fn a_working_directory_that_is_a_file_is_named(machine: Arc<Machine>) {
    let mut spec = machine.spec("homeless", &["env"]);
    spec.working_dir = Some("/etc/passwd".into());
    let error = refused(&machine, &spec).await;
    assert_eq!(error.kind(), ErrorKind::BadWorkingDirectory);
}

async fn an_image_whose_proc_is_a_link_is_refused(machine: Arc<Machine>) {
    std::os::unix::fs::symlink("/etc", machine.layer().join("proc")).expect("a link");
    let error = refused(&machine, &machine.spec("tricky", &["env"])).await;
    assert_eq!(error.kind(), ErrorKind::InvalidImage);
    assert!(error.to_string().contains("/proc of the image is not a folder"), "{error}");
}

async fn every_fault_of_a_specification_is_told_at_once(machine: Arc<Machine>) {
    let mut spec = machine.spec("faulty", &[]);
    spec.command = Command::Program(vec![]);
    spec.layers.clear();
    spec.working_dir = Some("relative".into());
    let error = refused(&machine, &spec).await;
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    for fault in ["command:", "layers:", "working_dir:"] {
        assert!(error.detail().contains(fault), "{error}");
    }
}

async fn too_much_memory_is_told_as_such(machine: Arc<Machine>) {
    let mut spec = machine.spec("greedy", &["alloc", "200"]);
    spec.limits.memory = Some(32 << 20);
    let instance = machine.start(&spec).await;
    let exit = instance.wait().await;
    if machine.host.limits_memory() {
        assert!(exit.out_of_memory, "{exit}");
        assert_eq!(exit.signal, Some(9));
    } else {
        assert_eq!(text(&instance).await, format!("allocated {}\n", 200 << 20));
        let told =
            machine.host.limitations().iter().any(|limit| limit.to_string().contains("no limit of memory"));
        assert!(told, "{:?}", machine.host.limitations());
    }
}
