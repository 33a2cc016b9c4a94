//! How far a load may go.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};

/// How far a load may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// To loopback addresses.
    #[default]
    Loopback,
    /// To private addresses too (RFC 1918): the caller has made their network on this machine, such as a test's cluster.
    OwnNetwork,
}

impl Reach {
    /// Whether an address is within reach.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn check(self, address: SocketAddr) -> Result<()> {
        let private = matches!(address.ip(), IpAddr::V4(address) if address.is_private());
        let allowed = address.ip().is_loopback() || (self == Self::OwnNetwork && private);
        ensure!(allowed, "{address} is not a loopback address, nor one of a network of the test's own");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_to_others() {
        let check = |reach: Reach, address: &str| reach.check(address.parse().unwrap()).is_ok();
        assert!(check(Reach::Loopback, "127.0.0.1:80") && check(Reach::Loopback, "[::1]:80"));
        assert!(!check(Reach::Loopback, "10.89.0.200:80"));
        assert!(check(Reach::OwnNetwork, "10.89.0.200:80"));
        assert!(!check(Reach::OwnNetwork, "192.0.2.1:80") && !check(Reach::OwnNetwork, "[2001:db8::1]:80"));
    }
}
