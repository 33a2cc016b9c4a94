//! The shared libraries of a program, as the machine's loader finds them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The libraries that `program` names and those that they name, with the loader; none for a static program.
pub fn of(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).env("LC_ALL", "C").output();
    let output = output.context("failed to start `ldd`, which belongs to the C library")?;
    let (told, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if told.contains("statically linked") || error.contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    ensure!(output.status.success(), "`ldd {}` ended with {}: {error}", program.display(), output.status);
    parse(&told).with_context(|| format!("the libraries of {} are not all here", program.display()))
}

/// Lines of `NAME => PATH (ADDRESS)`; the loader is `PATH (ADDRESS)`, and what the kernel brings is `NAME (ADDRESS)`.
fn parse(told: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in told.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, place) = line.split_once(" => ").unwrap_or((line, line));
        if place.starts_with("not found") {
            bail!("{name} is not found");
        }
        let path = place.split(" (").next().unwrap_or_default();
        if path.starts_with('/') {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_is_a_library_too_and_what_the_kernel_brings_is_none() {
        let told = "\tlinux-vdso.so.1 (0x00007f46)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f46)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f46)\n";
        let expected = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(parse(told).unwrap(), expected.map(PathBuf::from));
    }

    #[test]
    fn a_library_that_is_missing_is_named() {
        let error = parse("\tlibpaas.so.1 => not found\n").unwrap_err();
        assert_eq!(error.to_string(), "libpaas.so.1 is not found");
    }

    #[test]
    fn this_program_has_a_loader_or_no_library_at_all() {
        let program = std::env::current_exe().unwrap();
        let found = of(&program).unwrap();
        assert!(found.iter().all(|path| path.is_file()), "{found:?}");
        let has_loader = found.iter().any(|path| path.to_string_lossy().contains("/ld-"));
        assert!(found.is_empty() || has_loader, "{found:?}");
    }
}
