//! Clusters that `KUBECONFIG` names.

use std::env;

use anyhow::{Context, Result, ensure};

use crate::{Gateway, Listener, Origin, Registry, TestCluster};

/// The Gateway of a given cluster: `NAMESPACE/NAME=ADDRESS[,NAME:PROTOCOL:PORT]…`, as in
/// `infra/public=192.0.2.7,http:HTTP:80`.
pub const GATEWAY_VARIABLE: &str = "PAAS_TEST_GATEWAY";

/// The registry of a given cluster: `NAME`, or `PUSH,PULL` where nodes call it otherwise than this machine does.
pub const REGISTRY_VARIABLE: &str = "PAAS_TEST_REGISTRY";

/// The given ones; none if nothing is given.
pub fn clusters(count: usize) -> Result<Option<Vec<TestCluster>>> {
    let Some(paths) = env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty()) else {
        return Ok(None);
    };
    let gateway = variable(GATEWAY_VARIABLE)?.map(|text| parse_gateway(&text)).transpose()?;
    let registry = variable(REGISTRY_VARIABLE)?.map(|text| parse_registry(&text));
    let found: Vec<TestCluster> = env::split_paths(&paths)
        .take(count)
        .enumerate()
        .map(|(index, kubeconfig)| TestCluster {
            origin: Origin::Given,
            name: crate::name(index),
            kubeconfig,
            // Variables speak of one cluster.
            gateway: gateway.clone().filter(|_| index == 0),
            registry: registry.clone().filter(|_| index == 0),
            enforces_policies: None,
        })
        .collect();
    ensure!(
        found.len() == count,
        "the test needs {count} clusters, and KUBECONFIG names {}: one path each",
        found.len()
    );
    Ok(Some(found))
}

fn variable(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {name}")),
    }
}

fn parse_gateway(text: &str) -> Result<Gateway> {
    let parse = || {
        let (object, reached) = text.split_once('=')?;
        let (namespace, name) = object.split_once('/')?;
        let mut parts = reached.split(',');
        let address = parts.next()?.parse().ok()?;
        let listeners = parts.map(parse_listener).collect::<Option<Vec<_>>>()?;
        Some(Gateway { namespace: namespace.to_owned(), name: name.to_owned(), address, listeners })
    };
    parse().with_context(|| {
        format!("{GATEWAY_VARIABLE} is {text:?}, not NAMESPACE/NAME=ADDRESS[,NAME:PROTOCOL:PORT]…")
    })
}

fn parse_listener(text: &str) -> Option<Listener> {
    let mut parts = text.split(':').map(str::to_owned);
    let (name, protocol, port) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(Listener { name, port, protocol })
}

fn parse_registry(text: &str) -> Registry {
    let (push, pull) = text.split_once(',').unwrap_or((text, text));
    Registry { push: push.to_owned(), pull: pull.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_gateway_is_read_with_its_listeners() {
        let gateway = parse_gateway("infra/public=192.0.2.7,http:HTTP:80,tcp:TCP:9001").unwrap();
        assert_eq!((&*gateway.namespace, &*gateway.name), ("infra", "public"));
        assert_eq!(gateway.listener("TCP").map(|listener| listener.port), Some(9001));
        assert_eq!(gateway.listener("TLS"), None);
    }

    #[test]
    fn what_is_no_gateway_is_refused_with_the_form() {
        for text in
            ["public=192.0.2.7", "infra/public", "infra/public=here", "infra/public=192.0.2.7,http:80"]
        {
            let error = parse_gateway(text).unwrap_err().to_string();
            assert!(error.contains("NAMESPACE/NAME=ADDRESS"), "{text}: {error}");
        }
    }

    #[test]
    fn a_registry_may_have_another_name_in_the_nodes() {
        assert_eq!(parse_registry("r:5000").pull, "r:5000");
        let registry = parse_registry("localhost:5000,registry:5000");
        assert_eq!((&*registry.push, &*registry.pull), ("localhost:5000", "registry:5000"));
    }
}
